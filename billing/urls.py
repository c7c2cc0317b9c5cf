from django.urls import path

from billing import views

urlpatterns = [
    path("api/v1/usage/events", views.usage_events),
    path("api/v1/usage/summary", views.usage_summary),
    path("api/v1/billing/hybrie/snapshot", views.billing_snapshot),
]

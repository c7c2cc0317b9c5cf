"""The pages of billing."""

from django.urls import path

from billing.dashboard import bill, overview, usage

urlpatterns = [
    path("", overview.overview, name="overview"),
    path("activity", overview.activity, name="activity"),
    path("usage", usage.usage, name="usage"),
    path("usage/events/<uuid:event_id>", usage.one_event, name="event"),
    path("usage/adapters/<str:adapter_id>", usage.adapter_traffic, name="adapter_traffic"),
    path("billing", bill.bill, name="bill"),
]

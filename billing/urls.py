from django.urls import path

from billing.views import ledger, limits, rates, usage

urlpatterns = [
    path("api/v1/usage/events", usage.usage_events),
    path("api/v1/usage/events/export", ledger.export),
    path("api/v1/usage/events/<uuid:event_id>/corrections", ledger.corrections),
    path("api/v1/usage/summary", usage.usage_summary),
    path("api/v1/billing/hybrie/snapshot", usage.billing_snapshot),
    path("api/v1/billing/snapshots", ledger.snapshots),
    path("api/v1/billing/reconciliations", ledger.reconciliations),
    path("api/v1/billing/sinks", ledger.sinks),
    path("api/v1/billing/limits", limits.limits),
    path("api/v1/billing/rate-cards", rates.rate_cards),
    path("api/v1/billing/rate-cards/<uuid:card_id>", rates.rate_card),
]

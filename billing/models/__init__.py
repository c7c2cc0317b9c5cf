from billing.models.events import Mode, Status, UsageEvent, event_id
from billing.models.limits import LimitWarning, RateWindow, Reservation, Spend, WorkspaceLimit
from billing.models.rates import RateCard
from billing.models.rollups import UsageRollup

__all__ = [
    "LimitWarning",
    "Mode",
    "RateCard",
    "RateWindow",
    "Reservation",
    "Spend",
    "Status",
    "UsageEvent",
    "UsageRollup",
    "WorkspaceLimit",
    "event_id",
]

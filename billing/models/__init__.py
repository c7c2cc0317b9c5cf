from billing.models.events import Mode, Status, UsageEvent, event_id
from billing.models.limits import LimitWarning, RateWindow, Reservation, Spend, WorkspaceLimit
from billing.models.rates import RateCard
from billing.models.rollups import UsageRollup
from billing.models.snapshots import Reconciliation, StoredSnapshot

__all__ = [
    "LimitWarning",
    "Mode",
    "RateCard",
    "RateWindow",
    "Reconciliation",
    "Reservation",
    "Spend",
    "Status",
    "StoredSnapshot",
    "UsageEvent",
    "UsageRollup",
    "WorkspaceLimit",
    "event_id",
]

from billing.models.events import Mode, Status, UsageEvent, event_id
from billing.models.limits import LimitWarning, RateWindow, Reservation, Spend, WorkspaceLimit
from billing.models.rates import RateCard
from billing.models.rollups import DailyUsage, HourlyUsage
from billing.models.sinks import OutboxEntry, Sink
from billing.models.snapshots import Reconciliation, StoredSnapshot

__all__ = [
    "DailyUsage",
    "HourlyUsage",
    "LimitWarning",
    "Mode",
    "OutboxEntry",
    "RateCard",
    "RateWindow",
    "Reconciliation",
    "Reservation",
    "Sink",
    "Spend",
    "Status",
    "StoredSnapshot",
    "UsageEvent",
    "WorkspaceLimit",
    "event_id",
]

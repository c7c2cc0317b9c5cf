from billing.models.events import Mode, Status, UsageEvent, event_id
from billing.models.rates import RateCard
from billing.models.rollups import UsageRollup

__all__ = ["Mode", "RateCard", "Status", "UsageEvent", "UsageRollup", "event_id"]

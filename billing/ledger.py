"""The one narrow seam between what serves requests and what bills them: `Usage` in, one event out."""

import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any

from billing.models import Mode, Status, UsageEvent, event_id
from billing.partitions import ensure_month
from billing.tariff import Tariff


def now() -> datetime:
    """The present in UTC, to the millisecond, which is the ledger's grain."""
    moment = datetime.now(UTC)
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)


@dataclass(frozen=True, kw_only=True)
class Usage:
    """What one request used. `ts` is when it was admitted; any zone, kept in UTC to the millisecond.

    `input_tokens` includes `cached_tokens`. `id` makes recording idempotent: keep the `Usage` to retry it.
    """

    workspace_id: uuid.UUID
    provider: str
    model: str
    mode: Mode | str
    status: Status | str
    input_tokens: int
    output_tokens: int
    cached_tokens: int = 0
    modality: str = "text"
    latency_ms: int | None = None
    ttft_ms: int | None = None
    route_decision: Mapping[str, Any] = field(default_factory=dict)
    adapter_id: str | None = None
    session_key: str | None = None
    api_key_id: uuid.UUID | None = None
    request_id: str = ""
    stream: bool = False
    ts: datetime = field(default_factory=now)
    id: uuid.UUID | None = None

    def __post_init__(self) -> None:
        if self.ts.tzinfo is None:
            raise ValueError("Usage.ts needs a time zone.")
        ts = self.ts.astimezone(UTC)
        ts = ts.replace(microsecond=ts.microsecond // 1000 * 1000)
        object.__setattr__(self, "ts", ts)
        if self.id is None:
            object.__setattr__(self, "id", event_id(ts))


def record_event(event: Usage) -> uuid.UUID:
    """Write the event and its share of the rollups, and commit; recording the same id again changes nothing.

    Blocks for one commit: call it from a thread. Returns the event's id.
    """
    ensure_month(event.ts)
    row = priced(event, Tariff.load())
    UsageEvent.objects.bulk_create([row], ignore_conflicts=True)
    return row.id


def priced(usage: Usage, tariff: Tariff) -> UsageEvent:
    """The event with its cost and the rates used; both stay empty where no rate card applies."""
    event = UsageEvent(**asdict(usage))
    card = tariff.card(
        usage.workspace_id, usage.provider, usage.model, usage.mode, usage.adapter_id, usage.ts
    )
    if card is not None:
        event.rate_card_id = card.id
        event.input_rate = card.input_rate
        event.output_rate = card.output_rate
        event.cached_rate = card.rate_of_cached
        event.cost_gbp = card.cost(usage.input_tokens, usage.output_tokens, usage.cached_tokens)
    return event

"""Corrections: the ledger is never changed, so what was wrong is made right by the difference."""

from datetime import datetime
from decimal import Decimal

from django.db import connection, transaction
from django.db.models import Q, Sum

from billing.models import UsageEvent, event_id
from billing.models.rates import PER_MILLION
from billing.partitions import ensure_month
from billing.usage import now
from workspace.errors import invalid

LOCK = 0x636F_7272  # "corr"
COUNTS = ("input_tokens", "output_tokens", "cached_tokens")
COPIED = (
    *("workspace_id", "provider", "model", "mode", "modality", "status", "adapter_id", "session_key"),
    *("api_key_id", "request_id", "stream", "input_rate", "output_rate", "cached_rate", "rate_card_id"),
)


def correct(
    original: UsageEvent,
    counts: dict[str, int],
    cost_gbp: Decimal | None,
    reason: str,
    by: str,
    at: datetime | None = None,
) -> UsageEvent | None:
    """Record what is missing from (or too much in) an event and its earlier corrections.

    Args:
        counts: the true `COUNTS`; those left out stand.
        cost_gbp: the true cost; None prices the true counts at the event's own rates.
        at: when the correction counts; by default now, so that it falls into the open month.

    Returns:
        The correction; None where all is right already, which makes a repeated request harmless.

    Raises:
        ApiError: 400 for counts that make no sense, or for the correction of a correction.
    """
    if original.corrects is not None:
        raise invalid("id", f"This event is a correction; correct {original.corrects} instead.")
    at = at or now()
    ensure_month(at)
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(%s, hashtext(%s))", [LOCK, str(original.id)])
        standing, standing_cost = standing_values(original)
        true = {**standing, **counts}
        if min(true.values()) < 0 or true["cached_tokens"] > true["input_tokens"]:
            raise invalid("cached_tokens", "Tokens may not be negative, nor cached_tokens above input_tokens.")
        if cost_gbp is None:
            cost_gbp = priced(original, true)
        differences = {name: true[name] - standing[name] for name in COUNTS}
        cost_difference = None if cost_gbp is None else cost_gbp - standing_cost
        if not any(differences.values()) and not cost_difference:
            return None
        return UsageEvent.objects.create(
            id=event_id(at),
            ts=at,
            corrects=original.id,
            cost_gbp=cost_difference,
            route_decision={"reason": reason, "by": by},
            **differences,
            **{name: getattr(original, name) for name in COPIED},
        )


def standing_values(original: UsageEvent) -> tuple[dict[str, int], Decimal]:
    """The counts and the cost of the event with all its corrections; no cost counts as zero."""
    chain = UsageEvent.objects.filter(Q(id=original.id) | Q(corrects=original.id))
    sums = chain.aggregate(*(Sum(name, default=0) for name in (*COUNTS, "cost_gbp")))
    return {name: int(sums[f"{name}__sum"]) for name in COUNTS}, Decimal(sums["cost_gbp__sum"])


def priced(original: UsageEvent, counts: dict[str, int]) -> Decimal | None:
    """The cost of the counts at the rates that the event was billed at; None if no rate card applied."""
    if original.input_rate is None or original.output_rate is None or original.cached_rate is None:
        return None
    fresh = counts["input_tokens"] - counts["cached_tokens"]
    inputs = fresh * original.input_rate + counts["cached_tokens"] * original.cached_rate
    return (inputs + counts["output_tokens"] * original.output_rate) / PER_MILLION

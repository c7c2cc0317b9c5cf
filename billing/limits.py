"""Limits that hold under concurrency: the worst case is reserved at admission, and its event settles it.

Admissions to one workspace queue on a Postgres advisory lock, so that what one sees, no other changes; events
settle concurrently, which only ever frees what was reserved.
"""

import logging
import math
import uuid
from datetime import UTC, datetime
from decimal import Decimal

from django.db import DatabaseError, InterfaceError, connection, transaction
from django.db.models import F

from billing.credit import Credit
from billing.models import RateWindow, Reservation, WorkspaceLimit
from billing.tariff import Tariff
from billing.usage import Usage
from workspace.errors import ApiError
from workspace.models import ApiKey, Workspace

logger = logging.getLogger(__name__)

LOCK = 0x6C69_6D69  # "limi"
MINUTE_S = 60


def reserve(usage: Usage, key: ApiKey | None, input_tokens: int, output_tokens: int) -> bool:
    """Set aside what the request may cost and use at worst. False: it has no limit, and nothing is set aside.

    Raises:
        ApiError: 402 `credit_limit_exceeded`; 429 `rate_limit_exceeded` with `Retry-After`; 503
            `limits_unavailable` while Postgres, which holds the limits, is away.
    """
    try:
        limit = WorkspaceLimit.objects.select_related("workspace").filter(pk=usage.workspace_id).first()
        if limit is None and (key is None or key.credit_limit_pence is None):
            return False
        with transaction.atomic():
            admit(usage, limit, key, input_tokens, output_tokens)
    except (DatabaseError, InterfaceError) as error:
        logger.warning("limits cannot be checked: %s", error)
        raise ApiError(
            503,
            "limits_unavailable",
            "Limits cannot be checked now; try again.",
            headers={"Retry-After": "2"},
        ) from error
    return True


def refuse_used_up(workspace: Workspace, key: ApiKey | None) -> None:
    """For work that has no price but takes compute: the same limits in money, once they are used up.

    Raises:
        ApiError: 402 `credit_limit_exceeded`.
    """
    moment = datetime.now(UTC)
    limit = WorkspaceLimit.objects.select_related("workspace").filter(pk=workspace.pk).first()
    for credit in (Credit.of_key(key, moment), Credit.of_workspace(limit, moment)):
        if credit is not None:
            require_credit(credit, Decimal(0))


def release(event_id: uuid.UUID) -> None:
    """Give back what was set aside for a request that was refused after all."""
    with transaction.atomic():
        reservation = Reservation.objects.filter(pk=event_id).first()
        if reservation is not None:
            RateWindow.objects.filter(pk=reservation.workspace_id).update(
                requests=F("requests") + 1, tokens=F("tokens") + reservation.tokens
            )
            reservation.delete()


def admit(
    usage: Usage, limit: WorkspaceLimit | None, key: ApiKey | None, input_tokens: int, output_tokens: int
) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s, hashtext(%s))", [LOCK, str(usage.workspace_id)])
    cost = worst_cost(usage, input_tokens, output_tokens)
    for credit in (Credit.of_key(key, usage.ts), Credit.of_workspace(limit, usage.ts)):
        if credit is not None:
            require_credit(credit, cost)
    tokens = input_tokens + output_tokens
    if limit is not None and (limit.requests_per_minute or limit.tokens_per_minute):
        take_from_buckets(limit, tokens)
    Reservation.objects.create(
        event_id=usage.id,
        workspace_id=usage.workspace_id,
        api_key_id=usage.api_key_id,
        cost_gbp=cost,
        tokens=tokens,
    )


def worst_cost(usage: Usage, input_tokens: int, output_tokens: int) -> Decimal:
    """In GBP; nothing where no rate card applies, as on the event. Cached input may be dearer than fresh."""
    if usage.is_billed_elsewhere:
        return Decimal(0)
    card = Tariff.load().card(usage.workspace_id, usage.provider, usage.model, usage.mode, usage.adapter_id, usage.ts)
    if card is None:
        return Decimal(0)
    return max(card.cost(input_tokens, output_tokens, cached) for cached in (0, input_tokens))


def require_credit(credit: Credit, cost: Decimal) -> None:
    """Refuse what would, at worst, overspend; a limit that is used up refuses even what costs nothing."""
    used = credit.used()
    if used < credit.limit and used + cost <= credit.limit:
        return
    advice = " A lower max_tokens lowers what it may cost." if cost else ""
    whose = "this API key's credit limit" if credit.api_key_id else "this workspace's monthly budget"
    raise ApiError(
        402,
        "credit_limit_exceeded",
        f"The request may cost £{cost:f}, and £{max(credit.limit - used, Decimal(0)):f} is left of {whose}"
        f" of £{credit.limit:.2f}{renewal(credit)}.{advice}",
    )


def renewal(credit: Credit) -> str:
    return f", which renews at {credit.end:%Y-%m-%d %H:%M} UTC" if credit.end else ""


def take_from_buckets(limit: WorkspaceLimit, tokens: int) -> None:
    """Take one request and its worst case of tokens from the workspace's buckets of a minute's worth."""
    now = datetime.now(UTC)
    sizes = {"requests": limit.requests_per_minute, "tokens": limit.tokens_per_minute}
    wanted = {"requests": 1, "tokens": tokens}
    RateWindow.objects.get_or_create(
        pk=limit.pk, defaults={**{name: size or 0 for name, size in sizes.items()}, "filled_at": now}
    )
    window = RateWindow.objects.select_for_update().get(pk=limit.pk)
    elapsed_s = max((now - window.filled_at).total_seconds(), 0)  # a clock that steps back fills nothing
    for name, size in sizes.items():
        if size is None:
            continue
        level = min(getattr(window, name) + size * elapsed_s / MINUTE_S, size)
        if level < wanted[name]:
            raise too_fast(name, size, wanted[name], (wanted[name] - level) * MINUTE_S / size)
        setattr(window, name, level - wanted[name])
    window.filled_at = max(now, window.filled_at)
    window.save()


def too_fast(name: str, size: int, wanted: int, wait_s: float) -> ApiError:
    message = f"This workspace may use {size} {name} per minute."
    if wanted > size:
        message += f" The request may use {wanted}; lower its max_tokens."
    return ApiError(429, "rate_limit_exceeded", message, headers={"Retry-After": str(max(1, math.ceil(wait_s)))})

"""Events out to other meters: in batches, in order, at least once, and idempotent there by event id."""

import logging
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from django.db import transaction
from django.db.models import F

from billing.deliveries import Refused, Unreachable, deliver
from billing.models import OutboxEntry, Sink, UsageEvent

logger = logging.getLogger(__name__)

BATCH = 100  # the most that Stripe takes
FIRST_RETRY = timedelta(seconds=10)
LONGEST_RETRY = timedelta(hours=1)  # well within the 24 hours in which Stripe knows an event again


def deliver_outbox(now: datetime | None = None) -> int:
    """Send each sink what is due. Returns how many events were taken."""
    now = now or datetime.now(UTC)
    due = Sink.objects.filter(enabled=True).exclude(next_attempt_at__gt=now)
    return sum(drain(sink, now) for sink in due)


def drain(sink: Sink, now: datetime) -> int:
    """Send batches until nothing waits or the sink fails; then wait twice as long as the time before."""
    taken = 0
    try:
        while sent := send_batch(sink):
            taken += sent
    except Unreachable as error:
        wait = min(FIRST_RETRY * 2**sink.failures, LONGEST_RETRY)
        Sink.objects.filter(pk=sink.pk).update(
            failures=F("failures") + 1, next_attempt_at=now + wait, last_error=str(error)
        )
        logger.warning("sink %s failed: %s", sink, error)
    else:
        Sink.objects.filter(pk=sink.pk).update(failures=0, next_attempt_at=None, last_error="")
    return taken


def replay(sink: Sink) -> int:
    """Have everything that the sink has refused sent again, and all that waits for it sent soon.

    Returns how many refused entries wait again.
    """
    again = OutboxEntry.objects.filter(sink=sink).exclude(refused="").update(refused="")
    Sink.objects.filter(pk=sink.pk).update(failures=0, next_attempt_at=None)
    return again


def send_batch(sink: Sink) -> int:
    """Send the oldest entries, and forget them with the same commit that counts them. 0: nothing waits.

    Raises:
        Unreachable: the sink could not be asked; the entries wait on.
    """
    with transaction.atomic():
        entries = list(OutboxEntry.objects.select_for_update(skip_locked=True).filter(sink=sink, refused="")[:BATCH])
        if not entries:
            return 0
        first, last = min(entry.ts for entry in entries), max(entry.ts for entry in entries)
        found = UsageEvent.objects.filter(
            id__in=[entry.event_id for entry in entries], ts__gte=first, ts__lte=last
        ).in_bulk()
        refused = send(sink, [(entry, found[entry.event_id]) for entry in entries])
        taken = [entry.pk for entry in entries if entry.pk not in refused]
        OutboxEntry.objects.filter(pk__in=taken).delete()
        for pk, reason in refused.items():
            OutboxEntry.objects.filter(pk=pk).update(refused=reason)
        Sink.objects.filter(pk=sink.pk).update(delivered=F("delivered") + len(taken))
    return len(entries)


def send(sink: Sink, batch: Sequence[tuple[OutboxEntry, UsageEvent]]) -> dict[int, str]:
    """Deliver a batch; if the sink refuses it, its halves, down to the entries at fault, which are returned."""
    try:
        deliver(sink, [event for _, event in batch])
    except Refused as error:
        if len(batch) == 1:
            return {batch[0][0].pk: str(error)}
        middle = len(batch) // 2
        return {**send(sink, batch[:middle]), **send(sink, batch[middle:])}
    return {}

"""The meter's part of the admin console's first page."""

from pathlib import Path

from django.conf import settings
from django.db.models import Count, Min, Q

from billing.meter import meter
from billing.models import OutboxEntry, Sink
from workspace.health import Health, part

KIB = 1 << 10


@part
def spool() -> Health:
    """Events on this machine's disk: those that wait for Postgres, and those that it refused."""
    folder = meter.folder or settings.HOME.spool
    waiting, refused = (size_of(folder / name) for name in ("events", "rejected"))
    facts = "empty" if not waiting else f"{waiting / KIB:.1f} KiB of events wait for Postgres"
    if refused:
        facts += f"; Postgres refused {refused / KIB:.1f} KiB, kept in {folder / 'rejected'}"
    return Health("Spool", not waiting and not refused, facts)


def size_of(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


@part
def outbox() -> Health:
    """Events for other meters; down if one of these fails or has refused events."""
    if not Sink.objects.filter(enabled=True).exists():
        return Health("Outbox", True, "no other meter is set up")
    failing = list(Sink.objects.filter(enabled=True, failures__gt=0).values_list("name", flat=True))
    counts = OutboxEntry.objects.aggregate(
        waiting=Count("id", filter=Q(refused="")),
        kept=Count("id", filter=~Q(refused="")),
        oldest=Min("ts", filter=Q(refused="")),
    )
    facts = [f"{counts['waiting']} events wait"]
    if counts["oldest"]:
        facts.append(f"the oldest since {counts['oldest']:%Y-%m-%d %H:%M} UTC")
    if counts["kept"]:
        facts.append(f"{counts['kept']} were refused")
    if failing:
        facts.append(f"{', '.join(failing)} cannot be reached")
    return Health("Outbox", not failing and not counts["kept"], "; ".join(facts))

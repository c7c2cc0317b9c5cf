"""What inference does on its own, by Celery beat. Each task may run twice or late without harm."""

from typing import Any

from celery import Celery, shared_task
from django.utils import timezone

from inference.models import ComputeBackend
from inference.servers import check
from workspace.celery import app

CHECK_EVERY_S = 5


@app.on_after_finalize.connect
def schedule(sender: Celery, **_: Any) -> None:
    sender.add_periodic_task(CHECK_EVERY_S, check_servers.s(), name="check-servers", expires=CHECK_EVERY_S)


@shared_task
def check_servers() -> None:
    """Have each server checked that is due, on its own, so that one that hangs delays no other."""
    due = ComputeBackend.objects.exclude(open_until__gt=timezone.now())
    for pk in due.values_list("pk", flat=True):
        check_server.apply_async([str(pk)], expires=CHECK_EVERY_S)


@shared_task
def check_server(pk: str) -> None:
    row = ComputeBackend.objects.filter(pk=pk).first()
    if row is not None:
        check(row)

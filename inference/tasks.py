"""What inference does on its own, by Celery beat, and what it leaves to a worker. Each may run twice without harm."""

from typing import Any

from celery import Celery, shared_task
from django.utils import timezone

from inference import expiry
from inference.models import ComputeBackend
from inference.servers import check
from workspace.celery import app

CHECK_EVERY_S = 5
EXPIRE_EVERY_S = 10
RESUME_EVERY_S = 5
SWEEP_EVERY_S = 1800


@app.on_after_finalize.connect
def schedule(sender: Celery, **_: Any) -> None:
    sender.add_periodic_task(CHECK_EVERY_S, check_servers.s(), name="check-servers", expires=CHECK_EVERY_S)
    sender.add_periodic_task(EXPIRE_EVERY_S, expire_adapters.s(), name="expire-adapters", expires=EXPIRE_EVERY_S)
    sender.add_periodic_task(RESUME_EVERY_S, resume_work.s(), name="resume-work", expires=RESUME_EVERY_S)
    sender.add_periodic_task(SWEEP_EVERY_S, sweep_adapter_files.s(), name="sweep-adapter-files", expires=SWEEP_EVERY_S)


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


@shared_task
def expire_adapters() -> None:
    """Unload expired adapters from other nodes, mark their documents, and delete weights that are over their grace."""
    expiry.unload_from_servers()
    expiry.mark_documents()
    expiry.delete_weights()


@shared_task
def sweep_adapter_files() -> None:
    expiry.sweep_leftovers()


@shared_task
def resume_work() -> None:
    """Send again what no worker is at: the first one died, or the broker lost it."""
    from inference import distilling, training_jobs

    for pk in distilling.waiting():
        distill_document.apply_async([str(pk)], expires=RESUME_EVERY_S)
    for pk in training_jobs.waiting():
        train_hypernetwork.apply_async([str(pk)], expires=RESUME_EVERY_S)


@shared_task
def distill_document(pk: str) -> None:
    from inference import distilling

    distilling.work(pk)


@shared_task
def train_hypernetwork(pk: str) -> None:
    from inference import training_jobs

    training_jobs.work(pk)

"""A worker's part in internalizing a document by distillation."""

import time
from collections.abc import Iterable
from uuid import UUID

from django.conf import settings
from django.db.models import F, QuerySet

from inference import adapters
from inference.model_files import ModelUnavailable, resolve_model
from workspace.locks import claimed
from workspace.models import Internalization

MOST_ATTEMPTS = 3
REPORTED_EVERY_S = 1.0
RUNNING = Internalization.Status.RUNNING


def waiting() -> Iterable[UUID]:
    """Documents that have no weights yet. Those a worker is at are among them: it holds their lock."""
    return Internalization.objects.filter(status=RUNNING, content_hash="").values_list("pk", flat=True)


def work(pk: str) -> None:
    """Distill one document, unless another worker is at it. The server takes in what comes of it."""
    with claimed(f"distill {pk}") as is_free:
        row = Internalization.objects.filter(pk=pk, status=RUNNING, content_hash="").first() if is_free else None
        if row is None:
            return
        if row.attempts >= MOST_ATTEMPTS:
            fail(row, "worker_died", f"A worker died at it {MOST_ATTEMPTS} times.")
            return
        mine(row).update(attempts=F("attempts") + 1)
        distill(row)


def distill(row: Internalization) -> None:
    from inference.d2l.distill import distill as distill_document
    from inference.d2l.errors import Cancelled, D2LError
    from inference.engine.errors import EngineError

    report = Report(row)
    started = time.monotonic()
    try:
        model = resolve_model(settings.LAB_MODEL, settings.HOME.root)
        with adapters.files().staging() as folder:
            made = distill_document(model.path, row.document_text, folder, report.progress, report.is_over)
            stored = adapters.files().store(folder)
    except Cancelled:
        return
    except (D2LError, EngineError, ModelUnavailable) as error:
        fail(row, getattr(error, "code", "distillation_failed"), str(error))
        return
    mine(row).update(
        document_tokens=made.document_tokens,
        held_out_score=made.held_out_score,
        internalize_ms=round((time.monotonic() - started) * 1000),
        message="Made; waiting for the server",
        content_hash=stored.content_hash,
    )


class Report:
    """Tells the database how far a distillation is, and asks it whether anyone still wants it; once a second."""

    def __init__(self, row: Internalization) -> None:
        self.row = row
        self.told_at = 0.0
        self.over = False

    def progress(self, share: float, message: str) -> None:
        if time.monotonic() - self.told_at < REPORTED_EVERY_S:
            return
        self.told_at = time.monotonic()
        if not mine(self.row).update(progress=min(share, 0.99), message=message[:300]):
            self.over = True

    def is_over(self) -> bool:
        return self.over


def mine(row: Internalization) -> QuerySet[Internalization]:
    """The row, as long as it is wanted."""
    return Internalization.objects.filter(pk=row.pk, status=RUNNING)


def fail(row: Internalization, code: str, message: str) -> None:
    mine(row).update(status=Internalization.Status.FAILED, error=message, error_code=code, message="", document_text="")

"""Trainings of a hypernetwork: begin, follow, cancel, and a worker's part."""

import time
from collections.abc import Iterable
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.db.models import F, QuerySet
from django.db.models.functions import Now

from inference.d2l.settings import TrainingSettings
from inference.model_files import ModelUnavailable, resolve_model
from inference.runtime import runtime
from workspace.errors import ApiError
from workspace.locks import claimed
from workspace.models import TrainingJob, Workspace

MOST_ATTEMPTS = 5
REPORTED_EVERY_S = 2.0
POINTS_KEPT = 200
Status = TrainingJob.Status


def find(workspace: Workspace, pk: UUID) -> TrainingJob:
    """Raises ApiError: 404 `job_not_found`."""
    job = TrainingJob.objects.filter(workspace=workspace, pk=pk).first()
    if job is None:
        raise ApiError(404, "job_not_found", f"There is no training job {pk} in this workspace.", "id")
    return job


def begin(workspace: Workspace, settings_wanted: dict[str, Any]) -> TrainingJob:
    """Queue a training for the model that is served.

    Args:
        settings_wanted: of `inference.d2l.settings.TrainingSettings`; `steps` among them.
    """
    from inference.tasks import train_hypernetwork

    job = TrainingJob.objects.create(
        workspace=workspace,
        base_model=runtime.model_name,
        settings=settings_wanted,
        steps=settings_wanted["steps"],
    )
    transaction.on_commit(lambda: train_hypernetwork.delay(str(job.pk)), robust=True)  # else `resume_work` sends it
    return job


def cancel(job: TrainingJob) -> None:
    """End a job that has not ended; the worker at it sees it within seconds.

    Raises:
        ApiError: 409 `job_finished`.
    """
    if not open_one(job.pk).update(status=Status.CANCELLED, finished_at=Now()):
        raise ApiError(409, "job_finished", f"The training job {job.pk} has ended already.")


def waiting() -> Iterable[UUID]:
    """Jobs that have not ended. Those a worker is at are among them: it holds their lock."""
    return TrainingJob.objects.filter(status__in=TrainingJob.OPEN).values_list("pk", flat=True)


def work(pk: str) -> None:
    """Train, unless another worker is at it; takes up what one that died has reached."""
    with claimed(f"train {pk}") as is_free:
        job = open_one(UUID(pk)).first() if is_free else None
        if job is None:
            return
        if job.attempts >= MOST_ATTEMPTS:
            end(job, Status.FAILED, error=f"A worker died at it {MOST_ATTEMPTS} times.")
            return
        open_one(job.pk).update(status=Status.RUNNING, attempts=F("attempts") + 1)
        open_one(job.pk).filter(started_at=None).update(started_at=Now())
        train(job)


def train(job: TrainingJob) -> None:
    from inference.d2l.descent import TrainingPoint
    from inference.d2l.errors import Cancelled, D2LError
    from inference.d2l.training import train as train_network
    from inference.engine.errors import EngineError

    told_at = 0.0
    is_over = False
    points: list[dict[str, Any]] = job.losses

    def progress(point: TrainingPoint) -> None:
        nonlocal told_at, is_over
        while points and points[-1]["step"] >= point.step:  # of an attempt that got further than it had saved
            points.pop()
        if point.step % max(1, point.steps // POINTS_KEPT) == 0:
            points.append({"step": point.step, "loss": point.loss})
        if time.monotonic() - told_at > REPORTED_EVERY_S or point.step == point.steps:
            told_at = time.monotonic()
            is_over = not open_one(job.pk).update(step=point.step, losses=points)

    settings.HOME.hypernetworks.mkdir(parents=True, exist_ok=True)
    out = settings.HOME.hypernetworks / f"{job.pk}.safetensors"
    try:
        model = resolve_model(settings.LAB_MODEL, settings.HOME.root)
        score = train_network(model.path, out, TrainingSettings(**job.settings), progress, lambda: is_over)
    except Cancelled:
        return
    except (D2LError, EngineError, ModelUnavailable) as error:
        end(job, Status.FAILED, error=str(error))
        return
    end(job, Status.SUCCEEDED, score=score.as_dict())


def end(job: TrainingJob, status: Status, **fields: Any) -> None:
    open_one(job.pk).update(status=status, finished_at=Now(), **fields)


def open_one(pk: UUID) -> QuerySet[TrainingJob]:
    return TrainingJob.objects.filter(pk=pk, status__in=TrainingJob.OPEN)

"""The pages of trainings: begin one, follow its loss, see its score, cancel it."""

from typing import Any
from uuid import UUID

from django.contrib import messages
from django.core.paginator import Paginator
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.shortcuts import redirect
from django.views.decorators.http import require_http_methods, require_POST

from inference import training_jobs
from inference.d2l.settings import TrainingSettings
from inference.views import d2l_shapes as shapes
from workspace.audit import audit
from workspace.errors import ApiError
from workspace.identity import Principal
from workspace.models import Role, TrainingJob
from workspace.pages.door import page, show
from workspace.pages.refusal import Refusal, read_form

SHOWN = 50
FIELDS = ("num_examples", "epochs", "lr", "seed")
USUAL = {
    "num_examples": TrainingSettings.steps * TrainingSettings.batch,
    "epochs": 1,
    "lr": TrainingSettings.learning_rate,
    "seed": TrainingSettings.seed,
}


@require_http_methods(["GET", "HEAD", "POST"])
@page(writes=Role.ADMIN)
def jobs(request: HttpRequest, principal: Principal) -> HttpResponseBase:
    """List the trainings; POST begins one."""
    if request.method != "POST":
        return listing(request, principal)
    typed = {name: request.POST[name].strip() for name in FIELDS if request.POST.get(name, "").strip()}
    try:
        fields = read_form(shapes.NewTraining, typed)
        job = training_jobs.begin(principal.workspace, shapes.training_settings(fields))
    except ApiError as error:
        return listing(request, principal, error.status, refusal=Refusal(error, FIELDS), typed=request.POST)
    audit(request, principal, "training.begin", job, **job.settings)
    return redirect("job", job.pk)


@page()
def job(request: HttpRequest, principal: Principal, job_id: UUID) -> HttpResponseBase:
    """One training and its loss so far."""
    found = training_jobs.find(principal.workspace, job_id)
    return show(
        request,
        principal,
        "inference/job.html",
        section="jobs",
        job=found,
        chart=loss_curve(found),
    )


@require_POST
@page(writes=Role.ADMIN)
def cancel_job(request: HttpRequest, principal: Principal, job_id: UUID) -> HttpResponseBase:
    found = training_jobs.find(principal.workspace, job_id)
    try:
        training_jobs.cancel(found)
    except ApiError as error:
        messages.error(request, error.message)
    else:
        audit(request, principal, "training.cancel", found)
        messages.success(request, "The training is cancelled.")
    return redirect("job", job_id)


def listing(request: HttpRequest, principal: Principal, status: int = 200, **context: Any) -> HttpResponseBase:
    every = TrainingJob.objects.filter(workspace=principal.workspace)
    shown = Paginator(every, SHOWN).get_page(request.GET.get("page"))
    return show(
        request,
        principal,
        "inference/jobs.html",
        status,
        section="jobs",
        shown=shown,
        moving=any(job.is_open for job in shown),
        usual=USUAL,
        **context,
    )


def loss_curve(job: TrainingJob) -> dict[str, Any] | None:
    """The chart's data; None before the first step was reported."""
    if not job.losses:
        return None
    return {
        "labels": [point["step"] for point in job.losses],
        "series": [{"name": "loss", "values": [point["loss"] for point in job.losses]}],
        "kind": "line",
    }

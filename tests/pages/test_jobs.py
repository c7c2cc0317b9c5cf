"""Trainings in the browser. That a worker trains them is tested over HTTP."""

import pytest
from django.test import Client

from tests.pages.conftest import SignIn
from workspace.models import AuditEntry, Role, TrainingJob, Workspace

SCORE = {"needle": 0.96, "facts": 0.5, "facts_in_context": 0.75, "facts_on_base": 0.02, "documents": 24}


@pytest.fixture
def admin(browse: SignIn) -> Client:
    return browse(Role.ADMIN)


@pytest.fixture
def job(acme: Workspace) -> TrainingJob:
    losses = [{"step": 1, "loss": 0.7}, {"step": 3, "loss": 0.4}]
    return TrainingJob.objects.create(
        workspace=acme,
        base_model="SmolLM2",
        settings={"steps": 600},
        steps=600,
        step=3,
        losses=losses,
        status="running",
    )


def test_an_admin_begins_one_as_over_the_api(admin: Client) -> None:
    answer = admin.post("/jobs", {"num_examples": "4800", "epochs": "", "lr": "0.001", "seed": "7"})
    job = TrainingJob.objects.get()
    assert answer.headers["location"] == f"/jobs/{job.pk}"
    assert job.settings == {"steps": 100, "seed": 7, "learning_rate": 0.001}
    assert (AuditEntry.objects.get().action, AuditEntry.objects.get().source) == ("training.begin", "page")
    assert "Waiting for a worker" in admin.get(f"/jobs/{job.pk}").content.decode()


def test_a_refusal_stands_beside_its_field_with_the_apis_code(admin: Client) -> None:
    for fields in ({"num_examples": "0"}, {"lr": "fast"}, {"seed": "-1"}, {"epochs": "1000", "num_examples": "99999"}):
        answer = admin.post("/jobs", fields)
        assert answer.status_code == 400
        beside = answer.content.decode().split(f'id="{next(iter(fields))}-problem"')[1][:300]
        assert "<code>invalid_value</code>" in beside
    assert not TrainingJob.objects.exists()


def test_its_progress_and_loss_are_followed_until_its_score_is_there(admin: Client, job: TrainingJob) -> None:
    page = admin.get(f"/jobs/{job.pk}")
    assert page.context["chart"]["labels"] == [1, 3]
    assert page.context["chart"]["series"] == [{"name": "loss", "values": [0.7, 0.4]}]
    assert "every 2s" in page.content.decode()
    assert "step 3 of 600" in page.content.decode()
    TrainingJob.objects.update(status="succeeded", step=600, score=SCORE)
    page = admin.get(f"/jobs/{job.pk}").content.decode()
    assert "every 2s" not in page
    assert "<dd>50 %</dd>" in page
    assert "Cancel training" not in page
    assert "50 %" in admin.get("/jobs").content.decode()


def test_it_is_cancelled_once(admin: Client, job: TrainingJob) -> None:
    for _ in range(2):
        assert admin.post(f"/jobs/{job.pk}/cancel").status_code == 302
    job.refresh_from_db()
    assert job.status == "cancelled"
    assert AuditEntry.objects.filter(action="training.cancel").count() == 1
    assert "has ended already" in admin.get("/jobs").content.decode()


def test_a_failure_is_shown(admin: Client, job: TrainingJob) -> None:
    TrainingJob.objects.update(status="failed", error="A worker died at it 5 times.")
    for url in ("/jobs", f"/jobs/{job.pk}"):
        assert "A worker died at it 5 times." in admin.get(url).content.decode()

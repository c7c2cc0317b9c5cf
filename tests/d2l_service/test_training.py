"""A training job over HTTP: begun, followed, cancelled; the worker's part is run here."""

import threading
import time
from collections.abc import Callable

from django.db import connections

from inference import training_jobs
from tests.http.test_chat_refusals import error
from tests.serving import MODEL, Tenant
from workspace.models import AuditEntry


def work(pk: str) -> None:
    try:
        training_jobs.work(pk)
    finally:
        connections.close_all()


def test_it_can_be_followed_and_cancelled(tenant: Tenant) -> None:
    body = {"base_family": MODEL, "hyperparams": {"num_examples": 4_800}}
    job = tenant.http.post("/v1/train/d2l", json=body).json()
    address = f"/v1/train/jobs/{job['job_id']}"
    worker = threading.Thread(target=work, args=[job["job_id"]])
    worker.start()
    deadline = time.monotonic() + 60
    while not (record := tenant.http.get(address).json())["progress"]:
        assert time.monotonic() < deadline, record
        time.sleep(0.1)
    assert (record["status"], record["steps"], record["progress"][0]["step"]) == ("running", 100, 1)
    assert record["progress"][0]["loss"] > 0

    another_worker = threading.Thread(target=work, args=[job["job_id"]])
    another_worker.start()
    another_worker.join()
    assert tenant.http.get("/v1/train/jobs").json()["jobs"][0]["status"] == "running"

    assert tenant.http.delete(address).json()["status"] == "cancelled"
    worker.join()
    assert tenant.http.get(address).json()["status"] == "cancelled"
    assert error(tenant.http.delete(address))[:2] == (409, "job_finished")
    actions = AuditEntry.objects.order_by("id").values_list("action", flat=True)
    assert list(actions) == ["training.begin", "training.cancel"]


def test_a_stranger_sees_no_job(new_tenant: Callable[[str], Tenant]) -> None:
    ours, theirs = new_tenant("ours"), new_tenant("theirs")
    job = ours.http.post("/v1/train/d2l", json={}).json()
    for method in ("GET", "DELETE"):
        assert error(theirs.http.request(method, f"/v1/train/jobs/{job['job_id']}"))[:2] == (404, "job_not_found")
    assert theirs.http.get("/v1/train/jobs").json() == {"jobs": []}
    assert ours.http.get("/api/v1/lab/train/jobs").json()["jobs"][0]["job_id"] == job["job_id"]

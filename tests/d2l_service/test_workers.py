"""What a Celery worker does for documents and trainings, in a whole server on a tiny model."""

import json
import signal
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import psutil
import pytest

from tests.engine.tiny_models import make_model
from tests.engine.tokenizers import byte_level_tokenizer
from tests.http.test_chat_refusals import error
from tests.startup.conftest import Served, start_server

SHORT = "It opens at nine."
LONG = " ".join(f"Door {number} opens at {number} o'clock." for number in range(1, 9))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("distilling")
    model = make_model("llama", folder)
    byte_level_tokenizer(model)
    server = start_server(folder / "home", model, OMP_NUM_THREADS="1")
    yield server.wait_until_up()
    server.stop()


@pytest.fixture
def http(server: Served) -> Iterator[httpx.Client]:
    key = json.loads((server.home / "bootstrap.json").read_text())["api_key"]
    with httpx.Client(base_url=server.url, headers={"Authorization": f"Bearer {key}"}, timeout=60) as client:
        yield client


def distill(http: httpx.Client, document: str, **fields: object) -> dict[str, Any]:
    """Begin one, as a server without a hypernetwork for its model does by itself."""
    answer = http.post("/v1/d2l/internalize", json={"document_text": document, **fields})
    assert answer.status_code == 202, answer.text
    return answer.json()


def wait_for(read: Callable[[], dict[str, Any]], holds: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    deadline = time.monotonic() + 90
    while not holds(record := read()):
        assert time.monotonic() < deadline, record
        time.sleep(0.1)
    return record


def pool_processes(server: Served) -> list[psutil.Process]:
    """The processes that run the long queue's tasks."""
    workers = [child for child in server.children() if "--queues=long" in child.cmdline()]
    parents = {worker.pid for worker in workers}
    return [worker for worker in workers if worker.ppid() in parents]


@pytest.mark.timeout(240)
def test_a_distillation_outlives_its_worker(server: Served, http: httpx.Client) -> None:
    begun = distill(http, SHORT, id="hours", ttl_seconds=600)
    assert (begun["status"], begun["method"], begun["adapter_id"]) == ("running", "distill", "hours")
    again = distill(http, SHORT, id="hours", ttl_seconds=600)
    assert again["id"] == begun["id"]

    def read() -> dict[str, Any]:
        return http.get(f"/v1/d2l/internalizations/{begun['id']}").json()

    wait_for(read, lambda record: record["progress"] > 0)
    for process in pool_processes(server):
        process.send_signal(signal.SIGKILL)
    made = wait_for(read, lambda record: record["status"] != "running")
    assert (made["status"], made["error"], made["progress"]) == ("ready", None, 1)
    assert made["expires_at"] is not None
    body = {"model": "hours", "messages": [{"role": "user", "content": "When?"}], "max_tokens": 4}
    assert http.post("/v1/chat/completions", json=body).status_code == 200


@pytest.mark.timeout(240)
@pytest.mark.parametrize("address", ["/v1/adapters/doors", "/v1/sessions/visitor"])
def test_a_distillation_that_nobody_wants_any_more_ends(http: httpx.Client, address: str) -> None:
    begun = distill(http, f"{LONG} {address}", id="doors", session_key="visitor")
    assert http.delete(address).is_success

    def read() -> dict[str, Any]:
        return http.get(f"/v1/d2l/internalizations/{begun['id']}").json()

    assert read()["status"] == "expired"
    assert error(http.get("/v1/adapters/doors"))[:2] == (404, "adapter_not_found")


@pytest.mark.timeout(240)
def test_a_training_that_cannot_be_says_why(http: httpx.Client) -> None:
    answer = http.post("/v1/train/d2l", json={"hyperparams": {"num_examples": 4_800, "seed": 3}})
    assert answer.status_code == 202
    job = answer.json()
    assert (job["status"], job["settings"]["seed"], job["steps"]) == ("queued", 3, 100)
    address = f"/v1/train/jobs/{job['job_id']}"
    ended = wait_for(lambda: http.get(address).json(), lambda record: record["status"] not in ("queued", "running"))
    assert ended["status"] == "failed"
    assert "default system message" in ended["error"]
    assert error(http.delete(address))[:2] == (409, "job_finished")


@pytest.mark.parametrize(
    ("body", "status", "code", "param"),
    [
        ({"family": "another-model"}, 404, "model_not_found", "base_family"),
        ({"hyperparams": {"num_examples": 0}}, 400, "invalid_value", "hyperparams.num_examples"),
        ({"hyperparams": {"num_examples": 4_800_000, "epochs": 2}}, 400, "invalid_value", "epochs"),
        ({"seed": -1}, 400, "invalid_value", "seed"),
        ({"hyperparams": {"lr": 5}}, 400, "invalid_value", "hyperparams.lr"),
        ({"hyperparams": "fast"}, 400, "invalid_value", "hyperparams"),
    ],
)
def test_a_bad_training_names_its_field(
    http: httpx.Client, body: dict[str, Any], status: int, code: str, param: str
) -> None:
    assert error(http.post("/v1/train/d2l", json=body)) == (status, code, param)
    assert error(http.get("/v1/train/jobs/00000000-0000-0000-0000-000000000000"))[:2] == (404, "job_not_found")

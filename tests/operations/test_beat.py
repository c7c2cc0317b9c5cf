"""What Celery beat sends: every entry names a task that there is, and a worker runs it once."""

import json
import subprocess
import sys
from collections.abc import Iterator
from queue import Queue

import pytest
from celery.contrib.testing.worker import start_worker
from celery.signals import task_postrun

from workspace.celery import app
from workspace.home import PROJECT_ROOT

SCHEDULED = {
    "check-servers": "inference.tasks.check_servers",
    "clear-expired-logins": "workspace.tasks.clear_expired_logins",
    "expire-adapters": "inference.tasks.expire_adapters",
    "make-partitions": "billing.tasks.make_partitions",
    "post-out": "billing.tasks.post_out",
    "reconcile-months": "billing.tasks.reconcile_months",
    "resume-work": "inference.tasks.resume_work",
    "store-snapshots": "billing.tasks.store_snapshots",
    "sweep-adapter-files": "inference.tasks.sweep_adapter_files",
    "warn-of-limits": "billing.tasks.warn_of_limits",
}
AS_BEAT_LOADS_IT = """
import json
from workspace.celery import app
app.loader.init_worker()
app.finalize()
print(json.dumps({name: entry["task"] for name, entry in app.conf.beat_schedule.items()}))
"""


@pytest.fixture(scope="module")
def schedule() -> dict[str, str]:
    """The name and the task of each entry, as a process of its own reads them."""
    done = subprocess.run(
        [sys.executable, "-c", AS_BEAT_LOADS_IT], cwd=PROJECT_ROOT, capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout)


@pytest.fixture
def ended() -> Iterator[Queue[tuple[str, str]]]:
    """The id and the state of each task that a worker of this process has run."""
    tasks: Queue[tuple[str, str]] = Queue()

    def note(task_id: str, state: str, **_: object) -> None:
        tasks.put((task_id, state))

    task_postrun.connect(note)
    yield tasks
    task_postrun.disconnect(note)


def test_the_schedule_holds_what_runs_by_itself(schedule: dict[str, str]) -> None:
    assert schedule.items() >= SCHEDULED.items()


def test_every_scheduled_task_runs_once(
    schedule: dict[str, str], ended: Queue[tuple[str, str]], transactional_db: None
) -> None:
    app.loader.import_default_modules()
    with start_worker(app, perform_ping_check=False, pool="solo"):
        for name, task in schedule.items():
            sent = app.tasks[task].apply_async()
            while (outcome := ended.get(timeout=60))[0] != sent.id:
                pass
            assert outcome[1] == "SUCCESS", name

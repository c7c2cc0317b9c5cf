"""What Celery beat sends: every entry names a task that there is, and a worker runs it once."""

import json
import subprocess
import sys
from collections.abc import Iterator

import pytest
from celery import Celery
from celery.contrib.testing.worker import start_worker

from workspace.celery import app
from workspace.embedded import Valkey
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
def queue(valkey: Valkey) -> Iterator[Celery]:
    """The application, with Valkey to keep the outcomes too."""
    app.loader.import_default_modules()
    app.conf.update(result_backend=valkey.url)
    yield app
    app.conf.update(result_backend=None)


def test_the_schedule_holds_what_runs_by_itself(schedule: dict[str, str]) -> None:
    assert schedule.items() >= SCHEDULED.items()


def test_every_scheduled_task_runs_once(schedule: dict[str, str], queue: Celery, transactional_db: None) -> None:
    with start_worker(queue, perform_ping_check=False, pool="solo"):
        for name, task in schedule.items():
            sent = queue.tasks[task].apply_async()
            sent.get(timeout=60)
            assert sent.successful(), name

"""What a killed server leaves behind is billed at the next start."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from django.conf import settings
from django.db import connection

from billing.journal import HEADER, RECORD_BYTES, payload_at
from billing.meter import Meter
from billing.models import Status, UsageEvent
from billing.spool import Spool, SpoolDamaged
from billing.usage import Usage
from workspace.models import Workspace

VICTIM = """
import os, signal, sys, uuid
from pathlib import Path
import django
django.setup()
from django.db import connections
connections.settings["default"]["NAME"] = sys.argv[3]
from billing.meter import Meter
from billing.models import Status
from billing.usage import Usage

meter = Meter(Path(sys.argv[1]))
meter.start()
workspace = uuid.UUID(sys.argv[2])
for tokens in range(3):
    metered = meter.open(Usage(workspace_id=workspace, provider="local", model="m", mode="byoc"))
    metered.durable.result(20)
    metered.progress(input_tokens=10, output_tokens=tokens)
metered = meter.open(Usage(workspace_id=workspace, provider="local", model="m", mode="byoc"))
metered.close(Status.OK).result(20)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def workspace(transactional_db: None) -> Workspace:
    return Workspace.objects.create(name="Acme")


def kill_a_server(folder: Path, workspace: Workspace) -> None:
    """Run a process that opens three requests, closes a fourth, and is killed."""
    process = subprocess.run(
        [sys.executable, "-c", VICTIM, str(folder), str(workspace.pk), connection.settings_dict["NAME"]],
        cwd=settings.BASE_DIR,
        env={**os.environ, "DJANGO_SETTINGS_MODULE": "workspace.settings"},
        check=False,
        timeout=60,
    )
    assert process.returncode == -signal.SIGKILL


def test_it_works(workspace: Workspace, tmp_path: Path) -> None:
    kill_a_server(tmp_path, workspace)
    assert UsageEvent.objects.get().status == "ok"
    meter = Meter(tmp_path)
    try:
        assert meter.start() == 3
    finally:
        meter.stop()
    aborted = UsageEvent.objects.filter(status="aborted")
    assert sorted(event.output_tokens for event in aborted) == [0, 1, 2]
    assert {event.input_tokens for event in aborted} == {10}
    assert meter.start() == 0
    meter.stop()


def test_an_intent_that_comes_back_after_its_event_changes_nothing(workspace: Workspace, tmp_path: Path) -> None:
    """As after a power cut: the event was committed, the freed slot was not synced."""
    meter = Meter(tmp_path)
    meter.start()
    metered = meter.open(Usage(workspace_id=workspace.pk, provider="local", model="m", mode="byoc"))
    place = metered.intent.index * RECORD_BYTES
    before = metered.intent.file.map[place : place + HEADER.size]
    metered.progress(input_tokens=10, output_tokens=4)
    metered.close(Status.OK).result(20)
    meter.stop()
    with (tmp_path / "intents-0000").open("r+b") as file:
        file.seek(place)
        file.write(before)
    assert meter.start() == 1
    meter.stop()
    assert UsageEvent.objects.get().status == "ok"


def test_an_intent_torn_before_it_was_durable_is_no_request(workspace: Workspace, tmp_path: Path) -> None:
    meter = Meter(tmp_path)
    meter.start()
    metered = meter.open(Usage(workspace_id=workspace.pk, provider="local", model="m", mode="byoc"))
    place = payload_at(metered.intent.index)
    meter.stop()
    with (tmp_path / "intents-0000").open("r+b") as file:
        file.seek(place + 100)
        file.write(b"\0" * 20)
    assert meter.start() == 0
    meter.stop()
    assert not UsageEvent.objects.exists()


def test_a_spool_torn_at_its_end_keeps_what_is_whole(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "events")
    spool.append([{"id": 1}, {"id": 2}])
    spool.close()
    with (tmp_path / "events").open("ab") as file:
        file.write(b'1234abcd {"id"')
    spool = Spool(tmp_path / "events")
    assert spool.read(0)[0] == [{"id": 1}, {"id": 2}]
    spool.append([{"id": 3}])
    assert spool.read(0)[0] == [{"id": 1}, {"id": 2}, {"id": 3}]
    spool.close()


def test_a_spool_damaged_in_the_middle_is_left_for_a_person(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "events")
    spool.append([{"id": 1}, {"id": 2}])
    spool.close()
    path = tmp_path / "events"
    path.write_bytes(path.read_bytes().replace(b'"id":1', b'"id":7'))
    with pytest.raises(SpoolDamaged, match="line 1"):
        Spool(path)

"""Postgres goes away and comes back; nothing is lost, nothing is doubled, nothing is out of order."""

import time
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from uuid import UUID

import pytest
from django.db import connection

from billing.meter import Meter
from billing.models import Status
from billing.usage import Usage
from billing.writer import APPLICATION_NAME
from tests.outage import Outage
from workspace.models import Workspace

WAIT_S = 20


@pytest.fixture
def workspace(transactional_db: None) -> Workspace:
    with connection.cursor() as cursor:  # a table without gaps that former rows left keeps the order of its writing
        cursor.execute("TRUNCATE billing_usageevent")
    return Workspace.objects.create(name="Acme")


@pytest.fixture
def meter(tmp_path: Path, workspace: Workspace) -> Iterator[Meter]:
    meter = Meter(tmp_path)
    meter.start()
    yield meter
    meter.stop()


@pytest.fixture
def outage(workspace: Workspace) -> Iterator[Outage]:
    connection.ensure_connection()
    outage = Outage(APPLICATION_NAME)
    yield outage
    outage.end()
    outage.server.close()


def serve(meter: Meter, workspace: Workspace, output_tokens: int) -> "Future[UUID]":
    metered = meter.open(Usage(workspace_id=workspace.pk, provider="local", model="m", mode="byoc"))
    metered.durable.result(WAIT_S)
    metered.progress(input_tokens=1, output_tokens=output_tokens)
    return metered.close(Status.OK)


def await_replay(meter: Meter) -> None:
    deadline = time.monotonic() + WAIT_S
    while meter.spool.size and time.monotonic() < deadline:
        time.sleep(0.01)
    assert meter.spool.size == 0


def recorded(workspace: Workspace) -> list[int]:
    """The output tokens of the workspace's events, in the order in which they were written."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT output_tokens FROM billing_usageevent WHERE workspace_id = %s ORDER BY ctid", [workspace.pk]
        )
        return [tokens for (tokens,) in cursor.fetchall()]


def test_it_works(meter: Meter, workspace: Workspace, outage: Outage) -> None:
    serve(meter, workspace, 1).result(WAIT_S)
    outage.begin()
    for tokens in range(2, 7):
        serve(meter, workspace, tokens).result(WAIT_S)
    assert recorded(workspace) == [1]
    assert meter.spool.size > 0
    outage.end()
    await_replay(meter)
    assert recorded(workspace) == [1, 2, 3, 4, 5, 6]
    serve(meter, workspace, 7).result(WAIT_S)
    assert recorded(workspace) == [1, 2, 3, 4, 5, 6, 7]


def test_what_is_spooled_outlives_the_server(
    meter: Meter, workspace: Workspace, outage: Outage, tmp_path: Path
) -> None:
    outage.begin()
    serve(meter, workspace, 1).result(WAIT_S)
    open_still = meter.open(Usage(workspace_id=workspace.pk, provider="local", model="m", mode="byoc"))
    open_still.progress(input_tokens=1, output_tokens=2)
    meter.stop()
    assert meter.start() == 1
    assert recorded(workspace) == []
    outage.end()
    await_replay(meter)
    assert sorted(recorded(workspace)) == [1, 2]


def test_a_replay_cut_short_is_repeated_and_doubles_nothing(
    meter: Meter, workspace: Workspace, outage: Outage, tmp_path: Path
) -> None:
    outage.begin()
    for tokens in (1, 2, 3):
        serve(meter, workspace, tokens).result(WAIT_S)
    spooled = (tmp_path / "events").read_bytes()
    outage.end()
    await_replay(meter)
    meter.stop()
    (tmp_path / "events").write_bytes(spooled)
    meter.start()
    await_replay(meter)
    assert recorded(workspace) == [1, 2, 3]

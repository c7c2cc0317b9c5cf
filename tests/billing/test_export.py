import csv
import io
import json
from datetime import timedelta
from decimal import Decimal

import pytest
from asgiref.sync import sync_to_async
from django.test import AsyncClient

from billing import export
from billing.models import RateCard
from billing.usage import now
from tests.billing.conftest import Record, utc
from workspace.models import ApiKey, Workspace

URL = "/api/v1/usage/events/export"
FIRST = 10


@pytest.fixture
def workspace(transactional_db: None) -> Workspace:
    return Workspace.objects.create(name="Acme")


@pytest.fixture
def events(record: Record, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Ids, newest first, of more events than one page of the export holds."""
    monkeypatch.setattr(export, "PAGE", 3)
    RateCard.objects.create(input_rate=Decimal("0.000001"), output_rate=0, effective_from=utc(2026, 1, 1))
    start = now() - timedelta(hours=1)
    recorded = [record(ts=start + timedelta(seconds=step), session_key='a "b", c') for step in range(FIRST)]
    return [str(event.id) for event in reversed(recorded)]


async def fetch(workspace: Workspace, **query: str) -> str:
    secret = await sync_to_async(ApiKey(workspace=workspace, name="test").issue)()
    answer = await AsyncClient().get(URL, query, headers={"authorization": f"Bearer {secret}"})
    assert answer.status_code == 200
    return b"".join([part async for part in answer.streaming_content]).decode()


async def test_it_works(workspace: Workspace, events: list[str]) -> None:
    rows = list(csv.DictReader(io.StringIO(await fetch(workspace))))
    assert [row["id"] for row in rows] == events
    assert rows[0]["cost_gbp"] == "0.00000000001"
    assert rows[0]["session_key"] == 'a "b", c'
    assert rows[0]["adapter_id"] == ""


async def test_json_lines(workspace: Workspace, events: list[str]) -> None:
    lines = (await fetch(workspace, **{"as": "jsonl"})).splitlines()
    rows = [json.loads(line, parse_float=Decimal) for line in lines]
    assert [row["id"] for row in rows] == events
    assert rows[0]["cost_gbp"] == Decimal("1E-11")


async def test_it_takes_the_filters_of_the_events(workspace: Workspace, events: list[str]) -> None:
    assert await fetch(workspace, **{"as": "jsonl", "status": "error"}) == ""


async def test_without_events_there_is_a_header(workspace: Workspace) -> None:
    assert (await fetch(workspace)).startswith("id,ts,provider,")

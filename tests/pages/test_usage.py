from datetime import timedelta

import pytest
from django.test import Client
from django.utils import timezone

from billing.dashboard.usage import EVENTS_SHOWN
from billing.ledger import record_event
from billing.models import UsageEvent
from billing.usage import Usage
from tests.pages.conftest import SignIn
from workspace.models import Role, Workspace


@pytest.fixture
def viewer(browse: SignIn) -> Client:
    return browse(Role.VIEWER)


def record(workspace: Workspace, **particulars: object) -> None:
    usage = {"provider": "local", "model": "smollm2", "mode": "byoc", "status": "ok", "output_tokens": 5}
    record_event(Usage(workspace_id=workspace.pk, **{**usage, **particulars}))


def test_an_empty_workspace_says_so(viewer: Client) -> None:
    text = viewer.get("/usage").content.decode()
    assert "No request matches in this window." in text
    assert "No event matches." in text


def test_groups_and_chart_follow_the_label(viewer: Client, acme: Workspace) -> None:
    record(acme, adapter_id="tone")
    record(acme, adapter_id="tone")
    record(acme)
    page = viewer.get("/usage", {"group_by": "adapter"}).context
    assert [(row["label"], row["totals"].requests) for row in page["groups"]] == [("tone", 2), ("base model", 1)]
    assert {series["name"]: series["values"][-1] for series in page["chart"]["series"]} == {"tone": 2, "base model": 1}
    assert len(page["chart"]["labels"]) == 7


def test_filters_narrow_sums_and_events(viewer: Client, acme: Workspace) -> None:
    record(acme, adapter_id="tone")
    record(acme, status="error")
    page = viewer.get("/usage", {"adapter_id": "tone", "status": "", "model": ""}).context
    assert page["totals"].requests == len(page["events"]) == 1
    page = viewer.get("/usage", {"status": "error"})
    assert [event.status for event in page.context["events"]] == ["error"]
    assert "count all of them" in page.content.decode()
    assert "as=csv&amp;status=error&amp;window=7d" in page.content.decode()


def test_older_events_are_a_page_away(viewer: Client, acme: Workspace) -> None:
    start = timezone.now()
    for index in range(EVENTS_SHOWN + 3):
        record(acme, ts=start - timedelta(seconds=index))
    first = viewer.get("/usage").context
    second = viewer.get(f"/usage?{first['older']}").context
    seen = [event.id for event in (*first["events"], *second["events"])]
    assert len(seen) == len(set(seen)) == UsageEvent.objects.count()
    assert second["older"] is None


def test_a_filter_that_is_not_one_is_refused_in_words(viewer: Client) -> None:
    answer = viewer.get("/usage", {"window": "1y"})
    assert answer.status_code == 400
    assert "window must be one of 7d, 30d, month" in answer.content.decode()

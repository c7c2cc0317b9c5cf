from datetime import timedelta

from django.test import Client

from billing.usage import now
from tests.billing.conftest import Record, client_of
from workspace.models import Workspace

URL = "/api/v1/billing/hybrie/snapshot"


def test_it_works(api: Client, record: Record) -> None:
    record()
    record(adapter_id="refund-policy")
    record(adapter_id="refund-policy", mode="byok", provider="openai", model="gpt")
    record(adapter_id="tone", input_tokens=15, output_tokens=0)
    body = api.get(URL).json()
    assert body["mtd"]["requests"] == 4
    assert {row["mode"]: row["requests"] for row in body["mtd"]["by_mode"]} == {"byoc": 3, "byok": 1}
    assert {row["provider"]: row["requests"] for row in body["mtd"]["by_provider"]} == {
        "local": 3,
        "openai": 1,
    }
    assert {row["model"]: row["requests"] for row in body["mtd"]["by_model"]} == {"smollm2": 3, "gpt": 1}
    assert [row["requests"] for row in body["daily"]] == [4]
    coverage = body["adapter_coverage"]
    assert (coverage["requests_with_adapter"], coverage["requests_total"]) == (3, 4)
    assert (coverage["requests_pct"], coverage["tokens_pct"]) == (75, 75)
    assert {row["adapter_id"]: row["requests_pct"] for row in coverage["by_adapter"]} == {
        "refund-policy": 50,
        "tone": 25,
    }
    assert body["unmetered_event_count"] == 4
    assert body["mtd"]["cost_gbp"] == body["mtd"]["cost_pence"] == 0
    assert body["meter_events"] == body["autumn_events"] == []


def test_it_needs_a_key(client: Client, db: None) -> None:
    assert client.get(URL).status_code == 401


def test_with_no_traffic_coverage_is_null(api: Client) -> None:
    body = api.get(URL).json()
    assert body["mtd"]["requests"] == 0
    assert body["adapter_coverage"]["requests_pct"] is None
    assert body["adapter_coverage"]["tokens_pct"] is None


def test_with_no_adapter_used_coverage_is_zero(api: Client, record: Record) -> None:
    record()
    assert api.get(URL).json()["adapter_coverage"]["requests_pct"] == 0


def test_it_is_the_calendar_month_in_utc(api: Client, record: Record) -> None:
    start = now().replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    record(ts=start)
    record(ts=start - timedelta(milliseconds=1))
    body = api.get(URL).json()
    assert body["mtd"]["requests"] == 1
    assert body["period_start"] == f"{start:%Y-%m}-01T00:00:00.000Z"


def test_another_workspace_sees_nothing(record: Record, other_workspace: Workspace) -> None:
    record(adapter_id="refund-policy")
    assert client_of(other_workspace).get(URL).json()["adapter_coverage"]["by_adapter"] == []

from datetime import timedelta

import pytest
from django.test import Client

from billing.usage import now
from tests.billing.conftest import Record, client_of
from workspace.models import Workspace

URL = "/api/v1/usage/summary"


def test_it_works(api: Client, record: Record) -> None:
    record(model="a", cached_tokens=2)
    record(model="a")
    record(model="b", input_tokens=1, output_tokens=0)
    answer = api.get(URL, {"window": "30d", "group_by": "model"})
    assert answer.status_code == 200
    body = answer.json()
    fields = ("requests", "input_tokens", "output_tokens", "cached_tokens", "cost_gbp")
    assert body["points"] == [
        {"label": "a", **dict(zip(fields, (2, 20, 10, 2, 0), strict=True))},
        {"label": "b", **dict(zip(fields, (1, 1, 0, 0, 0), strict=True))},
    ]
    assert body["totals"] == dict(zip(fields, (3, 21, 10, 2, 0), strict=True))
    assert body["meta"]["window"] == "30d"
    assert body["meta"]["group_by"] == "model"
    assert body["meta"]["period_start"] < body["meta"]["period_end"]


def test_it_needs_a_key(client: Client, db: None) -> None:
    assert client.get(URL).status_code == 401


def test_another_workspace_sees_nothing(record: Record, other_workspace: Workspace) -> None:
    record()
    body = client_of(other_workspace).get(URL).json()
    assert body["points"] == []
    assert body["totals"]["requests"] == 0


@pytest.mark.parametrize(
    ("group_by", "particulars", "labels"),
    [
        ("provider", {"provider": "openai"}, {"local", "openai"}),
        ("mode", {"mode": "byok"}, {"byoc", "byok"}),
        ("modality", {"modality": "image"}, {"text", "image"}),
        ("adapter", {"adapter_id": "refund-policy"}, {None, "refund-policy"}),
    ],
)
def test_it_groups_by(api: Client, record: Record, group_by: str, particulars: dict, labels: set) -> None:
    record()
    record(**particulars)
    points = api.get(URL, {"group_by": group_by}).json()["points"]
    assert {point["label"] for point in points} == labels
    assert [point["requests"] for point in points] == [1, 1]


def test_days_are_in_order_and_in_utc(api: Client, record: Record) -> None:
    today = now().replace(hour=0, minute=0, second=0, microsecond=0)
    record(ts=today)
    record(ts=today - timedelta(milliseconds=1))
    points = api.get(URL, {"window": "7d", "group_by": "day"}).json()["points"]
    yesterday = today - timedelta(days=1)
    assert [point["label"] for point in points] == [f"{yesterday:%Y-%m-%d}", f"{today:%Y-%m-%d}"]


def test_seven_days_are_today_and_the_six_before(api: Client, record: Record) -> None:
    today = now().replace(hour=0, minute=0, second=0, microsecond=0)
    record(ts=today - timedelta(days=6))
    record(ts=today - timedelta(days=6, milliseconds=1))
    assert api.get(URL, {"window": "7d"}).json()["totals"]["requests"] == 1


@pytest.mark.parametrize(("param", "accepted"), [("window", "7d, 30d, month"), ("group_by", "provider, model")])
def test_a_bad_parameter_is_named_with_what_is_accepted(api: Client, param: str, accepted: str) -> None:
    answer = api.get(URL, {param: "week"})
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == param
    assert accepted in answer.json()["error"]["message"]

"""Limits on real Postgres, with real concurrency."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from django.db import connections
from django.test import Client

from billing.credit import Credit
from billing.ledger import record_event
from billing.meter import Meter, Metered
from billing.models import RateCard, RateWindow, Reservation, Status, UsageEvent, WorkspaceLimit
from billing.usage import Usage, now
from tests.billing.conftest import client_of, utc
from workspace.errors import ApiError
from workspace.models import ApiKey, Workspace

WAIT_S = 30


@pytest.fixture
def workspace(transactional_db: None) -> Workspace:
    return Workspace.objects.create(name="Acme")


@pytest.fixture
def meter(tmp_path: Path, workspace: Workspace) -> Iterator[Meter]:
    meter = Meter(tmp_path)
    meter.start()
    yield meter
    meter.stop()


@pytest.fixture
def price(workspace: Workspace) -> RateCard:
    """A penny for each ten thousand tokens, in or out."""
    return RateCard.objects.create(input_rate=1, output_rate=1, effective_from=utc(2026, 1, 1))


def a_key(workspace: Workspace, limit_pence: int | None = None, period: str = "") -> ApiKey:
    key = ApiKey(workspace=workspace, credit_limit_pence=limit_pence, credit_limit_reset_period=period)
    key.issue()
    return key


def usage(workspace: Workspace, key: ApiKey | None = None, **particulars: object) -> Usage:
    labels = {"provider": "local", "model": "m", "mode": "byoc", "api_key_id": key.pk if key else None}
    return Usage(workspace_id=workspace.pk, **{**labels, **particulars})


def admit(meter: Meter, workspace: Workspace, key: ApiKey | None = None, tokens: int = 10_000) -> Metered:
    return meter.admit(usage(workspace, key), key, input_tokens=0, output_tokens=tokens)


def finish(metered: Metered, tokens: int) -> None:
    metered.progress(input_tokens=0, output_tokens=tokens)
    metered.close(Status.OK).result(WAIT_S)


def test_it_works(meter: Meter, workspace: Workspace, price: RateCard) -> None:
    key = a_key(workspace, limit_pence=2)
    first, second = admit(meter, workspace, key), admit(meter, workspace, key)
    with pytest.raises(ApiError) as refusal:
        admit(meter, workspace, key)
    assert (refusal.value.status, refusal.value.code) == (402, "credit_limit_exceeded")
    assert "£0.02" in refusal.value.message
    finish(first, tokens=100)
    with pytest.raises(ApiError):
        admit(meter, workspace, key)
    admit(meter, workspace, key, tokens=9_900).cancel()
    finish(second, tokens=10_000)
    assert Credit.of_key(key, now()).spent() == Decimal("0.0101")
    assert not Reservation.objects.exists()


def test_a_refused_request_leaves_no_event_and_no_reservation(
    meter: Meter, workspace: Workspace, price: RateCard
) -> None:
    with pytest.raises(ApiError):
        admit(meter, workspace, a_key(workspace, limit_pence=0))
    meter.stop()
    assert meter.start() == 0
    assert not UsageEvent.objects.exists()
    assert not Reservation.objects.exists()


def test_a_hundred_parallel_requests_cannot_overspend_a_penny(
    meter: Meter, workspace: Workspace, price: RateCard
) -> None:
    key = a_key(workspace, limit_pence=10)
    WorkspaceLimit.objects.create(workspace=workspace, monthly_budget_pence=12)
    start = threading.Barrier(20)

    def one_request(number: int) -> bool:
        if number < 20:
            start.wait()
        try:
            metered = admit(meter, workspace, key)
        except ApiError:
            return False
        else:
            finish(metered, tokens=9_000)
            return True
        finally:
            connections.close_all()

    with ThreadPoolExecutor(20) as threads:
        served = sum(threads.map(one_request, range(100)))
    spent = Credit.of_key(key, now()).spent()
    assert spent == served * Decimal("0.009") <= Decimal("0.10")
    assert spent + Decimal("0.01") > Decimal("0.10")


def test_a_key_without_a_limit_is_held_to_the_workspaces_budget(
    meter: Meter, workspace: Workspace, price: RateCard
) -> None:
    WorkspaceLimit.objects.create(workspace=workspace, monthly_budget_pence=1)
    admit(meter, workspace, a_key(workspace))
    with pytest.raises(ApiError, match="monthly budget"):
        admit(meter, workspace, a_key(workspace))


def test_without_limits_nothing_is_reserved(meter: Meter, workspace: Workspace, price: RateCard) -> None:
    admit(meter, workspace, a_key(workspace))
    assert not Reservation.objects.exists()


def test_a_server_that_died_gives_back_what_it_reserved(meter: Meter, workspace: Workspace, price: RateCard) -> None:
    key = a_key(workspace, limit_pence=1)
    admit(meter, workspace, key).progress(input_tokens=0, output_tokens=500)
    meter.stop()
    assert meter.start() == 1
    assert not Reservation.objects.exists()
    assert Credit.of_key(key, now()).spent() == Decimal("0.0005")


@pytest.mark.parametrize(
    ("period", "spent_at", "counts"),
    [
        ("daily", utc(2028, 2, 29), True),
        ("daily", utc(2028, 2, 28, 23, 59), False),
        ("weekly", utc(2028, 2, 28), True),
        ("weekly", utc(2028, 2, 27, 23, 59), False),
        ("monthly", utc(2028, 2, 1), True),
        ("monthly", utc(2028, 1, 31, 23, 59), False),
        ("", utc(2027, 1, 1), True),
    ],
)
def test_a_keys_limit_renews_with_its_period(
    workspace: Workspace, price: RateCard, period: str, spent_at: object, counts: bool
) -> None:
    key = a_key(workspace, limit_pence=1, period=period)
    record_event(usage(workspace, key, ts=spent_at, output_tokens=10_000, status="ok"))
    credit = Credit.of_key(key, utc(2028, 2, 29, 12))
    assert credit.spent() == (Decimal("0.01") if counts else 0)


def test_requests_per_minute(meter: Meter, workspace: Workspace) -> None:
    WorkspaceLimit.objects.create(workspace=workspace, requests_per_minute=3)
    for _ in range(3):
        finish(admit(meter, workspace), tokens=1)
    with pytest.raises(ApiError) as refusal:
        admit(meter, workspace)
    assert (refusal.value.status, refusal.value.code) == (429, "rate_limit_exceeded")
    assert 1 <= int(refusal.value.headers["Retry-After"]) <= 20
    RateWindow.objects.update(filled_at=now() - timedelta(seconds=21))
    admit(meter, workspace)
    with pytest.raises(ApiError):
        admit(meter, workspace)


def test_tokens_per_minute_are_settled_by_what_was_used(meter: Meter, workspace: Workspace) -> None:
    WorkspaceLimit.objects.create(workspace=workspace, tokens_per_minute=1000)
    first = admit(meter, workspace, tokens=900)
    with pytest.raises(ApiError) as refusal:
        admit(meter, workspace, tokens=200)
    assert refusal.value.status == 429
    finish(first, tokens=100)
    admit(meter, workspace, tokens=880).cancel()
    admit(meter, workspace, tokens=880)


def test_what_can_never_pass_says_so(meter: Meter, workspace: Workspace) -> None:
    WorkspaceLimit.objects.create(workspace=workspace, tokens_per_minute=1000)
    with pytest.raises(ApiError, match="lower its max_tokens"):
        admit(meter, workspace, tokens=1001)


def test_a_clock_that_steps_back_fills_no_bucket(meter: Meter, workspace: Workspace) -> None:
    WorkspaceLimit.objects.create(workspace=workspace, requests_per_minute=1)
    admit(meter, workspace)
    RateWindow.objects.update(filled_at=now() + timedelta(hours=1))
    with pytest.raises(ApiError):
        admit(meter, workspace)


def test_the_api_shows_what_is_used(meter: Meter, workspace: Workspace, price: RateCard) -> None:
    key = a_key(workspace, limit_pence=5, period="monthly")
    WorkspaceLimit.objects.create(workspace=workspace, monthly_budget_pence=100)
    finish(admit(meter, workspace, key), tokens=15_000)
    admit(meter, workspace, key)
    body = client_of(workspace).get("/api/v1/billing/limits").json()
    assert body["monthly_budget_pence"] == 100
    assert body["webhook_secret"] is None
    assert [(row["limit_pence"], row["spent_pence"], row["reserved_pence"]) for row in body["credits"]] == [
        (100, 1.5, 1),
        (5, 1.5, 1),
    ]


def test_a_key_may_not_change_limits(workspace: Workspace) -> None:
    answer = client_of(workspace).patch(
        "/api/v1/billing/limits", {"monthly_budget_pence": 1}, content_type="application/json"
    )
    assert answer.status_code == 403
    assert not WorkspaceLimit.objects.exists()


def test_limits_need_a_key(client: Client, workspace: Workspace) -> None:
    assert client.get("/api/v1/billing/limits").status_code == 401

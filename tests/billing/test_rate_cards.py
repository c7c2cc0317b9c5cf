import json
from datetime import timedelta
from decimal import Decimal

import pytest
from django.test import Client
from django.utils import timezone

from billing.models import RateCard
from tests.billing.conftest import Record, client_of, utc
from workspace.models import AuditEntry, CliToken, Membership, Role, User, Workspace

URL = "/api/v1/billing/rate-cards"
BODY = {"provider": "openai", "model": "gpt-*", "input_rate": "1.5", "output_rate": "6"}


@pytest.fixture
def operator(workspace: Workspace) -> Client:
    return client_for(workspace, is_staff=True)


def client_for(workspace: Workspace, is_staff: bool) -> Client:
    user = User.objects.create_user(f"{is_staff}@example.com", is_staff=is_staff)
    Membership.objects.create(workspace=workspace, user=user, role=Role.OWNER)
    secret = CliToken(user=user, workspace=workspace, name="test").issue()
    return Client(headers={"authorization": f"Bearer {secret}"})


def card(**particulars: object) -> RateCard:
    rates = {"input_rate": Decimal(1), "output_rate": Decimal(2), "effective_from": utc(2026, 1, 1)}
    return RateCard.objects.create(**{**rates, **particulars})


def test_it_works(operator: Client, record: Record) -> None:
    answer = operator.post(URL, BODY, content_type="application/json")
    assert answer.status_code == 201, answer.json()
    assert answer.json()["input_rate"] == 1.5
    assert answer.json()["mode"] == answer.json()["adapter_id"] == "*"
    assert [row["id"] for row in operator.get(URL).json()["rate_cards"]] == [answer.json()["id"]]
    event = record(provider="openai", model="gpt-5", input_tokens=1_000_000, output_tokens=1)
    assert event.cost_gbp == Decimal("1.500006")
    assert (event.input_rate, event.output_rate, event.cached_rate) == (Decimal("1.5"), 6, Decimal("1.5"))
    assert str(event.rate_card_id) == answer.json()["id"]


@pytest.mark.parametrize("method", ["post", "patch", "delete"])
def test_only_the_operator_may_write(workspace: Workspace, method: str) -> None:
    url = URL if method == "post" else f"{URL}/{card().id}"
    for client in (client_of(workspace), client_for(workspace, is_staff=False)):
        answer = getattr(client, method)(url, BODY, content_type="application/json")
        assert answer.status_code == 403
        assert answer.json()["error"]["code"] == "operator_required"


def test_another_workspaces_card_is_not_seen(api: Client, other_workspace: Workspace) -> None:
    other = card(workspace=other_workspace)
    general = card()
    assert [row["id"] for row in api.get(URL).json()["rate_cards"]] == [str(general.id)]
    assert api.get(f"{URL}/{other.id}").status_code == 404


def test_cached_tokens_have_their_own_rate(record: Record) -> None:
    card(cached_rate=Decimal("0.1"))
    event = record(input_tokens=100, cached_tokens=40, output_tokens=10)
    assert event.cost_gbp == (60 * Decimal(1) + 40 * Decimal("0.1") + 10 * Decimal(2)) / 1_000_000


def test_without_a_cached_rate_cached_tokens_cost_what_input_does(record: Record) -> None:
    card()
    assert record(input_tokens=100, cached_tokens=40, output_tokens=0).cost_gbp == Decimal("0.0001")


def test_a_rate_of_zero_is_a_price(record: Record, api: Client) -> None:
    card(input_rate=0, output_rate=0)
    assert record().cost_gbp == 0
    assert api.get("/api/v1/billing/hybrie/snapshot").json()["unmetered_event_count"] == 0


def test_without_a_card_the_event_is_written_and_counted_as_unmetered(record: Record, api: Client) -> None:
    card(provider="openai")
    assert record().cost_gbp is None
    assert api.get("/api/v1/billing/hybrie/snapshot").json()["unmetered_event_count"] == 1


@pytest.mark.parametrize(
    ("less", "more"),
    [
        ({}, {"mode": "byoc"}),
        ({"mode": "byoc"}, {"provider": "local"}),
        ({"provider": "local"}, {"model": "smol*"}),
        ({"model": "smol*"}, {"model": "smollm*"}),
        ({"model": "smollm*"}, {"model": "smollm2"}),
        ({"model": "smollm2"}, {"adapter_id": "refund-policy"}),
    ],
)
def test_the_most_specific_card_wins(record: Record, less: dict, more: dict) -> None:
    wanted = card(**more)
    card(**less, effective_from=utc(2026, 6, 1))
    assert record(adapter_id="refund-policy").rate_card_id == wanted.id


def test_a_workspaces_own_card_wins(record: Record, workspace: Workspace, other_workspace: Workspace) -> None:
    card(model="smollm2")
    card(workspace=other_workspace, model="smollm2")
    own = card(workspace=workspace)
    assert record().rate_card_id == own.id


def test_a_card_without_adapter_is_for_the_base_model(record: Record) -> None:
    base = card(adapter_id="")
    assert record().rate_card_id == base.id
    assert record(adapter_id="refund-policy").rate_card_id is None


def test_prices_change_at_their_moment_and_history_does_not(record: Record) -> None:
    old = card(effective_from=utc(2027, 1, 1))
    new = card(effective_from=utc(2027, 2, 1), effective_until=utc(2027, 3, 1))
    assert record(ts=utc(2026, 12, 31, 23, 59)).rate_card_id is None
    before = record(ts=utc(2027, 1, 31, 23, 59))
    assert before.rate_card_id == old.id
    assert record(ts=utc(2027, 2, 1)).rate_card_id == new.id
    assert record(ts=utc(2027, 3, 1)).rate_card_id == old.id
    card(effective_from=utc(2027, 1, 15), input_rate=Decimal(9))
    before.refresh_from_db()
    assert before.rate_card_id == old.id


def test_each_event_has_the_price_that_stands_when_it_is_written(record: Record) -> None:
    """Also where cards change within one transaction, as all of this test is."""
    price = card(output_rate=Decimal(2))
    assert record(output_tokens=1_000_000, input_tokens=0).cost_gbp == 2
    RateCard.objects.filter(pk=price.pk).update(output_rate=3)
    assert record(output_tokens=1_000_000, input_tokens=0).cost_gbp == 3
    other = card(output_rate=Decimal(4), model="m", adapter_id="")
    assert record(output_tokens=1_000_000, input_tokens=0, model="m").cost_gbp == 4
    other.delete()
    assert record(output_tokens=1_000_000, input_tokens=0, model="m").cost_gbp == 3
    price.delete()
    assert record(output_tokens=1_000_000, input_tokens=0).cost_gbp is None


def test_a_card_in_effect_is_ended_not_deleted(operator: Client) -> None:
    current = card()
    answer = operator.delete(f"{URL}/{current.id}")
    assert answer.status_code == 409
    assert answer.json()["error"]["code"] == "rate_card_in_effect"
    end = {"effective_until": "2030-01-01T00:00:00Z"}
    answer = operator.patch(f"{URL}/{current.id}", end, content_type="application/json")
    assert answer.json()["effective_until"] == "2030-01-01T00:00:00.000Z"
    future = card(effective_from=timezone.now() + timedelta(days=1))
    assert operator.delete(f"{URL}/{future.id}").status_code == 204


@pytest.mark.parametrize(
    ("fault", "param"),
    [
        ({"input_rate": "-1"}, "input_rate"),
        ({"input_rate": "1.1234567"}, "input_rate"),
        ({"output_rate": "much"}, "output_rate"),
        ({"mode": "free"}, "mode"),
        ({"model": "*gpt"}, "model"),
        ({"effective_from": "2026-01-02T00:00:00Z", "effective_until": "2026-01-01"}, "effective_until"),
        (
            {"effective_from": "2026-01-02T00:00:00Z", "effective_until": "2026-01-01T00:00:00Z"},
            "effective_until",
        ),
        ({"workspace_id": "9b2d7a52-8e0e-4c38-9d0e-0d2d5e6c1f00"}, "workspace_id"),
    ],
)
def test_a_card_that_makes_no_sense_is_refused(operator: Client, fault: dict, param: str) -> None:
    answer = operator.post(URL, json.dumps({**BODY, **fault}), content_type="application/json")
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == param


def test_the_same_card_twice_is_refused(operator: Client) -> None:
    body = {**BODY, "effective_from": "2026-01-01T00:00:00Z"}
    assert operator.post(URL, body, content_type="application/json").status_code == 201
    answer = operator.post(URL, body, content_type="application/json")
    assert answer.status_code == 400
    assert "already" in answer.json()["error"]["message"]


def test_what_the_operator_changes_is_in_the_audit_log(operator: Client) -> None:
    future = {**BODY, "effective_from": "2999-01-01T00:00:00Z"}
    made = operator.post(URL, future, content_type="application/json").json()["id"]
    operator.patch(f"{URL}/{made}", {"effective_until": "2999-02-01T00:00:00Z"}, content_type="application/json")
    operator.delete(f"{URL}/{made}")
    operator.patch("/api/v1/billing/limits", {"requests_per_minute": 60}, content_type="application/json")
    actions = [entry.action for entry in AuditEntry.objects.order_by("at", "id")]
    assert actions == ["rate_card.create", "rate_card.end", "rate_card.delete", "workspace_limit.update"]
    assert AuditEntry.objects.get(action="workspace_limit.update").details == {"fields": ["requests_per_minute"]}


def test_a_card_deleted_in_the_admin_console_is_in_the_audit_log(workspace: Workspace) -> None:
    root = User.objects.create_user("root@example.com", is_staff=True, is_superuser=True)
    browser = Client()
    browser.force_login(root)
    future = card(effective_from=utc(2999, 1, 1))
    browser.post(f"/admin/billing/ratecard/{future.pk}/delete/", {"post": "yes"})
    entry = AuditEntry.objects.get()
    assert (entry.action, entry.object_id, entry.source) == ("rate_card.delete", str(future.pk), "admin")

import base64
import hashlib
import hmac
import json
from collections.abc import Iterator
from datetime import timedelta

import pytest

from billing.models import LimitWarning, RateCard, WorkspaceLimit
from billing.usage import now
from billing.warnings import deliver_warnings, notice_limits
from tests.billing.conftest import Record, utc
from tests.billing.receiver import Receiver, receiving
from workspace.models import ApiKey, Workspace


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as receiver:
        yield receiver


@pytest.fixture
def limit(workspace: Workspace, receiver: Receiver) -> WorkspaceLimit:
    RateCard.objects.create(input_rate=1, output_rate=1, effective_from=utc(2026, 1, 1))
    return WorkspaceLimit.objects.create(workspace=workspace, monthly_budget_pence=10, webhook_url=receiver.url)


def test_it_works(limit: WorkspaceLimit, record: Record, receiver: Receiver) -> None:
    record(input_tokens=0, output_tokens=79_999)
    assert notice_limits() == 0
    record(input_tokens=0, output_tokens=1)
    assert notice_limits() == 1
    assert deliver_warnings() == 1
    ((headers, body),) = receiver.received
    message = json.loads(body)
    assert message["type"] == "limit.approaching"
    assert (message["data"]["percent"], message["data"]["spent_pence"]) == (80, 8)
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    key = base64.b64decode(limit.webhook_secret.removeprefix("whsec_"))
    expected = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    assert headers["webhook-signature"] == f"v1,{expected}"


def test_each_is_said_once_in_its_period(limit: WorkspaceLimit, record: Record, receiver: Receiver) -> None:
    record(input_tokens=0, output_tokens=100_000)
    assert notice_limits() == 2
    record(input_tokens=0, output_tokens=100_000)
    assert notice_limits() == 0
    assert deliver_warnings() == 2
    assert deliver_warnings() == 0
    types = {json.loads(body)["type"] for _, body in receiver.received}
    assert types == {"limit.approaching", "limit.reached"}


def test_a_key_has_warnings_of_its_own(limit: WorkspaceLimit, record: Record, workspace: Workspace) -> None:
    key = ApiKey(workspace=workspace, credit_limit_pence=1, credit_limit_reset_period="daily")
    key.issue()
    record(input_tokens=0, output_tokens=10_000, api_key_id=key.pk)
    assert notice_limits() == 2
    assert set(LimitWarning.objects.values_list("api_key_id", "percent")) == {(key.pk, 80), (key.pk, 100)}


def test_what_is_not_taken_is_sent_again_later(limit: WorkspaceLimit, record: Record, receiver: Receiver) -> None:
    record(input_tokens=0, output_tokens=80_000)
    notice_limits()
    receiver.status = 500
    assert deliver_warnings() == 0
    warning = LimitWarning.objects.get()
    assert (warning.attempts, "500" in warning.last_error) == (1, True)
    receiver.status = 200
    assert deliver_warnings() == 0, "it is not due yet"
    assert deliver_warnings(now() + timedelta(minutes=1)) == 1
    identifiers = {headers["webhook-id"] for headers, _ in receiver.received}
    assert len(receiver.received) == 2
    assert len(identifiers) == 1


def test_without_a_webhook_it_is_still_noticed(limit: WorkspaceLimit, record: Record, receiver: Receiver) -> None:
    WorkspaceLimit.objects.update(webhook_url="")
    record(input_tokens=0, output_tokens=80_000)
    assert notice_limits() == 1
    assert deliver_warnings() == 0
    assert receiver.received == []

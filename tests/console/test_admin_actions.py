"""What staff can do to many rows at once; each is in the audit log, and none is for staff who may only look."""

from datetime import UTC, datetime
from uuid import uuid4

import pytest
from django.contrib.auth.models import Permission
from django.test import Client

from billing.models import OutboxEntry, Reconciliation, Sink, UsageEvent
from billing.periods import Period
from billing.reconcile import reconcile
from inference.models import ComputeBackend
from tests.console.conftest import Provider, signed_in
from workspace.models import Adapter, ApiKey, AuditEntry, TrainingJob, User, Workspace


@pytest.fixture
def staff(db: None) -> Client:
    return signed_in(User.objects.create_superuser("root@example.com"))


@pytest.fixture
def onlooker(db: None) -> Client:
    """Staff with the permission to view everything, and no other."""
    user = User.objects.create_user("audit@example.com", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__startswith="view_"))
    return signed_in(user)


@pytest.fixture
def adapter(acme: Workspace) -> Adapter:
    sums = {"checksum_sha256": "0" * 64, "content_hash": "0" * 64, "size_bytes": 1}
    return Adapter.objects.create(
        workspace=acme, adapter_id="tone", base_model="m", rank=8, alpha=16, target_modules=["q_proj"], **sums
    )


def act(client: Client, model: str, action: str, *rows: object):
    chosen = [str(row.pk) for row in rows]  # type: ignore[attr-defined]
    return client.post(f"/admin/{model}/", {"action": action, "_selected_action": chosen}, follow=True)


def recorded() -> list[str]:
    return list(AuditEntry.objects.order_by("id").values_list("action", flat=True))


def test_an_adapter_is_expired_once(staff: Client, adapter: Adapter) -> None:
    for _ in range(2):
        act(staff, "workspace/adapter", "expire", adapter)
    assert Adapter.objects.expired().get() == adapter
    assert recorded() == ["adapter.expire"]


def test_an_adapter_is_unloaded_everywhere(staff: Client, adapter: Adapter) -> None:
    answer = act(staff, "workspace/adapter", "unload_everywhere", adapter)
    assert "1 unloaded." in answer.content.decode()
    assert recorded() == ["adapter.unload"]


def test_a_training_is_cancelled(staff: Client, acme: Workspace) -> None:
    job = TrainingJob.objects.create(workspace=acme, base_model="m", steps=1)
    for _ in range(2):
        act(staff, "workspace/trainingjob", "cancel", job)
    assert TrainingJob.objects.get().status == "cancelled"
    assert recorded() == ["training_job.cancel"]


def test_a_server_is_probed(staff: Client, acme: Workspace, provider: Provider) -> None:
    row = ComputeBackend.objects.create(
        workspace=acme, kind="vllm", name="gpu", http_url=provider.base_url.removesuffix("/v1")
    )
    row.api_key = provider.key
    row.save()
    act(staff, "inference/computebackend", "probe", row)
    row.refresh_from_db()
    assert (row.health, row.served_models) == ("reachable", ["large"])
    assert recorded() == ["compute_backend.probe"]


def test_a_reconciliation_is_run_again(staff: Client) -> None:
    first = reconcile(Period.month_of(datetime.now(UTC)))
    answer = act(staff, "billing/reconciliation", "reconcile_again", first)
    assert "0 differences" in answer.content.decode()
    assert Reconciliation.objects.count() == 2
    assert recorded() == ["reconciliation.repeat"]


def test_what_a_sink_refused_is_sent_again(staff: Client) -> None:
    sink = Sink.objects.create(name="meter", kind="openmeter", url="https://meter.example", failures=3)
    Sink.objects.update(next_attempt_at=datetime.now(UTC))
    event = {"event_id": uuid4(), "ts": datetime.now(UTC)}
    OutboxEntry.objects.create(sink=sink, refused="It is too old.", **event)
    answer = act(staff, "billing/sink", "replay_outbox", sink)
    assert "1 events go out" in answer.content.decode()
    sink.refresh_from_db()
    assert (sink.lag()["pending"], sink.lag()["refused"], sink.failures, sink.next_attempt_at) == (1, 0, 0, None)
    assert recorded() == ["sink.replay"]


def test_who_may_only_look_is_offered_no_action(onlooker: Client, adapter: Adapter, acme: Workspace) -> None:
    key = ApiKey(workspace=acme, name="app")
    key.issue()
    for model, action, row in (
        ("workspace/adapter", "expire", adapter),
        ("workspace/adapter", "unload_everywhere", adapter),
        ("workspace/apikey", "revoke", key),
    ):
        assert act(onlooker, model, action, row).status_code == 200
    assert recorded() == []
    assert not Adapter.objects.expired().exists()


def test_the_ledger_has_no_action_at_all(staff: Client) -> None:
    page = staff.get(f"/admin/billing/{UsageEvent._meta.model_name}/")
    assert page.context["cl"].model_admin.get_actions(page.wsgi_request) == {}

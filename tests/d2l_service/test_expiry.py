"""An adapter ends to the millisecond by the database's clock, whoever else is alive."""

import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from django.db import connection
from django.db.models.functions import Now

from inference import adapters
from inference.adapters import Registration
from inference.backends import LOCAL_BACKEND
from inference.tasks import expire_adapters
from tests.http.test_chat_refusals import error
from tests.serving import Tenant
from workspace.models import Adapter, AuditEntry, Internalization

LONG_AGO = timedelta(days=1)


def made(tenant: Tenant, name: str, folder: Path, **fields: object) -> Adapter:
    adapter = adapters.register(tenant.workspace, folder, Registration(name, "d2l", **fields))  # type: ignore[arg-type]
    adapters.load(adapter)
    return adapter


def expire(adapter: Adapter, ago: timedelta = LONG_AGO) -> None:
    Adapter.objects.filter(pk=adapter.pk).update(expires_at=Now() - ago)


def eventually(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def database_clock() -> datetime:
    with connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        return cursor.fetchone()[0]


def test_it_is_served_before_its_time_and_refused_after_it(tenant: Tenant, random_adapters: list[Path]) -> None:
    adapter = made(tenant, "brief", random_adapters[0], ttl_seconds=2)
    assert tenant.ask("Hi", "brief", max_tokens=1).status_code == 200
    while database_clock() <= adapter.expires_at:  # type: ignore[operator]
        time.sleep(0.01)
    assert error(tenant.ask("Hi", "brief", max_tokens=1))[:2] == (410, "adapter_expired")
    assert error(tenant.ask("Hi", model="brief", max_tokens=1))[:2] == (410, "adapter_expired")
    assert error(tenant.load("brief"))[:2] == (410, "adapter_expired")
    assert tenant.http.get("/v1/adapters/brief").json()["state"] == "expired"
    assert "brief" not in tenant.http.get("/v1/models").text


def test_the_servers_own_clock_decides_nothing(
    tenant: Tenant, random_adapters: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    present = datetime.now(UTC)
    for hours in (-1, 1):
        monkeypatch.setattr("django.utils.timezone.now", lambda hours=hours: present + timedelta(hours=hours))
        adapter = made(tenant, f"hour{hours}", random_adapters[0], ttl_seconds=600)
        left = adapter.expires_at - database_clock()  # type: ignore[operator]
        assert timedelta(seconds=590) < left <= timedelta(seconds=600)
        assert tenant.ask("Hi", adapter.adapter_id, max_tokens=1).status_code == 200
        expire(adapter)
        assert error(tenant.ask("Hi", adapter.adapter_id, max_tokens=1))[:2] == (410, "adapter_expired")


def test_a_request_that_runs_when_the_time_is_up_finishes(
    tenant: Tenant, random_adapters: list[Path], housekeeping: None
) -> None:
    adapter = made(tenant, "running", random_adapters[0])
    whole: list[httpx.Response] = []
    asking = threading.Thread(
        target=lambda: whole.append(tenant.ask("Hi", "running", max_tokens=64, ignore_eos=True)), daemon=True
    )
    asking.start()
    eventually(lambda: any(held.last_used_at for held in LOCAL_BACKEND.status().loaded))
    expire(adapter)
    assert error(tenant.ask("Hi", "running"))[:2] == (410, "adapter_expired")
    asking.join()
    assert whole[0].json()["usage"]["completion_tokens"] == 64
    eventually(lambda: not LOCAL_BACKEND.status().loaded)


def test_the_slot_is_freed_without_a_worker_even_of_a_pinned_one(
    tenant: Tenant, random_adapters: list[Path], housekeeping: None
) -> None:
    adapter = made(tenant, "pinned", random_adapters[0], pinned=True)
    expire(adapter)
    eventually(lambda: not LOCAL_BACKEND.status().loaded)
    eventually(lambda: adapter.placements.get().state == "registered")


def test_the_weights_go_later_and_the_history_stays(tenant: Tenant, random_adapters: list[Path]) -> None:
    adapter = made(tenant, "kept", random_adapters[0], session_key="s")
    tenant.ask("Hi", "kept", max_tokens=1).raise_for_status()
    folder = adapters.files().folder(adapter.content_hash)
    expire(adapter, timedelta(seconds=10))
    adapters.unload(adapter)
    expire_adapters()
    assert folder.exists()
    expire(adapter)
    expire_adapters()
    assert not folder.exists()
    assert [event["adapter_id"] for event in tenant.events()] == ["kept"]
    assert tenant.http.get("/api/v1/usage/events?session_key=s").json()["events"] == tenant.events()
    assert tenant.http.get("/v1/adapters/kept").json()["state"] == "expired"
    again = made(tenant, "again", random_adapters[0])
    assert folder.exists()
    assert tenant.ask("Hi", again.adapter_id, max_tokens=1).status_code == 200


def test_weights_that_another_adapter_uses_stay(tenant: Tenant, random_adapters: list[Path]) -> None:
    first, second = (made(tenant, name, random_adapters[0]) for name in ("first", "second"))
    expire(first)
    adapters.unload(first)
    expire_adapters()
    first.refresh_from_db()
    assert first.weights_deleted_at is not None
    assert adapters.files().folder(second.content_hash).exists()


def test_ending_a_session_expires_all_its_adapters_at_once(
    new_tenant: Callable[[str], Tenant], random_adapters: list[Path]
) -> None:
    ours, theirs = new_tenant("ours"), new_tenant("theirs")
    for name, session in (("a", "one"), ("b", "one"), ("c", "two")):
        made(ours, name, random_adapters[0], session_key=session)
    made(theirs, "a", random_adapters[1], session_key="one")
    unfinished = Internalization.objects.create(
        workspace=ours.workspace, wanted_id="d", method="distill", session_key="one", base_model="m", document_text="x"
    )
    ended = ours.http.delete("/v1/sessions/one")
    assert (ended.status_code, ended.json()) == (200, {"session_key": "one", "expired": ["a", "b"]})
    for name in "ab":
        assert error(ours.ask("Hi", name, max_tokens=1))[:2] == (410, "adapter_expired")
    assert ours.ask("Hi", "c", max_tokens=1).status_code == 200
    assert theirs.ask("Hi", "a", max_tokens=1).status_code == 200
    unfinished.refresh_from_db()
    assert (unfinished.status, unfinished.document_text) == ("expired", "")
    assert ours.http.delete("/v1/sessions/one").json()["expired"] == []
    assert AuditEntry.objects.filter(action="session.end", workspace=ours.workspace).count() == 2


@pytest.mark.parametrize("key", ["x" * 201, "x" * 10_000, "a%00b"])
def test_an_unlikely_session_is_refused_by_name(tenant: Tenant, key: str) -> None:
    assert error(tenant.http.delete(f"/v1/sessions/{key}")) == (400, "invalid_value", "session_key")

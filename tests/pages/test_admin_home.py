from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import pytest
from django.test import Client

from billing.meter import meter
from billing.models import OutboxEntry, Sink
from inference.models import ComputeBackend
from tests.startup.conftest import free_port
from workspace.celery import note_pulse
from workspace.health import Health, beat, worker
from workspace.models import User, Workspace


@pytest.fixture
def staff(db: None) -> Client:
    client = Client()
    client.force_login(User.objects.create_superuser("root@example.com"))
    return client


def health_on(page) -> dict[str, bool]:
    return {each.part: each.is_up for each in page.context["health"]}


def test_it_says_what_is_down(staff: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CELERY_BROKER_URL")
    page = staff.get("/admin/")
    health = health_on(page)
    assert (health["Postgres"], health["Valkey"], health["Worker"], health["Beat"]) == (True, False, False, False)
    assert "no broker is set in this process" in page.content.decode()


def test_a_broker_without_a_worker_is_told_apart(staff: Client) -> None:
    health = health_on(staff.get("/admin/"))
    assert (health["Valkey"], health["Worker"]) == (True, False)


@pytest.mark.parametrize("ask", [worker, beat])
def test_a_broker_that_goes_away_between_two_questions_fails_no_page(
    ask: Callable[[Health], Health], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CELERY_BROKER_URL", f"redis://127.0.0.1:{free_port()}/0")
    health = ask(Health("Valkey", True, "it was there just now"))
    assert not health.is_up
    assert "refused" in health.facts


def test_beat_is_up_while_it_sends(staff: Client) -> None:
    assert not health_on(staff.get("/admin/"))["Beat"]
    note_pulse()
    page = staff.get("/admin/")
    assert health_on(page)["Beat"]
    assert "sent a task" in page.content.decode()


def test_events_that_wait_on_disk_are_said(staff: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(meter, "folder", tmp_path)
    assert health_on(staff.get("/admin/"))["Spool"]
    (tmp_path / "events").write_bytes(b"x" * 2048)
    page = staff.get("/admin/")
    assert not health_on(page)["Spool"]
    assert "2.0 KiB of events wait for Postgres" in page.content.decode()


def test_the_outbox_is_up_until_a_meter_fails_or_refuses(staff: Client) -> None:
    assert "no other meter is set up" in staff.get("/admin/").content.decode()
    sink = Sink.objects.create(name="openmeter", kind="openmeter", url="https://meter.example", enabled=True)
    entry = OutboxEntry.objects.create(sink=sink, event_id=uuid4(), ts=datetime(2026, 11, 1, tzinfo=UTC))
    page = staff.get("/admin/")
    assert health_on(page)["Outbox"]
    assert "1 events wait; the oldest since 2026-11-01 00:00 UTC" in page.content.decode()
    OutboxEntry.objects.filter(pk=entry.pk).update(refused="It is too old.")
    assert not health_on(staff.get("/admin/"))["Outbox"]


def test_a_server_that_does_not_answer_is_named(staff: Client) -> None:
    workspace = Workspace.objects.create(name="Acme")
    row = ComputeBackend.objects.create(workspace=workspace, kind="peer", name="attic", http_url="http://127.0.0.1:9")
    page = staff.get("/admin/")
    assert not health_on(page)["Peers and servers"]
    assert "0 of 1 reachable; not attic" in page.content.decode()
    row.note_success([])
    assert health_on(staff.get("/admin/"))["Peers and servers"]

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.test import Client

from workspace.embedded import Valkey
from workspace.models import User


@pytest.fixture
def staff(db: None) -> Client:
    client = Client()
    client.force_login(User.objects.create_superuser("root@example.com"))
    return client


@pytest.fixture
def broker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    valkey = Valkey(tmp_path / "valkey")
    valkey.start()
    monkeypatch.setitem(os.environ, "CELERY_BROKER_URL", valkey.url)
    yield
    valkey.stop()


def health_on(page) -> dict[str, bool]:
    return {each.part: each.is_up for each in page.context["health"]}


def test_it_says_what_is_down(staff: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(os.environ, "CELERY_BROKER_URL", raising=False)
    page = staff.get("/admin/")
    health = health_on(page)
    assert (health["Postgres"], health["Valkey"], health["Worker"]) == (True, False, False)
    assert "no broker is set in this process" in page.content.decode()


def test_a_broker_without_a_worker_is_told_apart(staff: Client, broker: None) -> None:
    health = health_on(staff.get("/admin/"))
    assert (health["Valkey"], health["Worker"]) == (True, False)

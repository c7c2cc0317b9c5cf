"""A session that ends takes with it what is being made for it at that moment."""

import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from django.db.models.functions import Now

from inference import adapters, internalizing, sessions
from inference.backends import LOCAL_BACKEND
from inference.facts import Facts, KnownAdapter
from inference.remembered import may_be_old
from tests.d2l_service.conftest import internalize
from tests.http.test_chat_refusals import error
from tests.serving import Tenant
from workspace.models import Adapter, EndedSession, Internalization


class Held:
    """A hypernetwork that is at its work until it is let go."""

    def __init__(self, work: Callable[..., Any]) -> None:
        self.work = work
        self.begun, self.go_on = threading.Event(), threading.Event()

    def __call__(self, *arguments: Any) -> Any:
        self.begun.set()
        assert self.go_on.wait(30)
        return self.work(*arguments)


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> Iterator[Held]:
    held = Held(LOCAL_BACKEND.internalize)
    monkeypatch.setattr(LOCAL_BACKEND, "internalize", held)
    yield held
    held.go_on.set()


def test_what_is_in_flight_when_its_session_ends_is_not_registered(tenant: Tenant, held: Held) -> None:
    answers: list[httpx.Response] = []
    sending = threading.Thread(
        target=lambda: answers.append(internalize(tenant, id="late", session_key="s", ttl_seconds=600))
    )
    sending.start()
    assert held.begun.wait(30)
    assert tenant.http.delete("/v1/sessions/s").json() == {"session_key": "s", "expired": []}
    held.go_on.set()
    sending.join()
    assert error(answers[0]) == (410, "adapter_expired", "session_key")
    assert error(tenant.ask("Hi", "late", max_tokens=1))[:2] == (404, "adapter_not_found")
    assert (Adapter.objects.count(), Internalization.objects.count()) == (0, 0)


def test_what_is_sent_after_the_end_is_a_new_session(tenant: Tenant) -> None:
    tenant.http.delete("/v1/sessions/s").raise_for_status()
    assert internalize(tenant, id="anew", session_key="s").json()["status"] == "ready"
    assert tenant.ask("Hi", "anew", max_tokens=1).status_code == 200


def test_another_session_that_ends_disturbs_nothing(tenant: Tenant, held: Held) -> None:
    answers: list[httpx.Response] = []
    sending = threading.Thread(target=lambda: answers.append(internalize(tenant, session_key="s")))
    sending.start()
    assert held.begun.wait(30)
    tenant.http.delete("/v1/sessions/other").raise_for_status()
    held.go_on.set()
    sending.join()
    assert answers[0].json()["status"] == "ready"


def distilled(tenant: Tenant, folder: Path, **fields: object) -> Internalization:
    """A row whose weights a worker has just made."""
    return Internalization.objects.create(
        workspace=tenant.workspace,
        wanted_id="made",
        method="distill",
        base_model="m",
        document_text="x",
        session_key="s",
        content_hash=adapters.files().store(folder).content_hash,
        **fields,
    )


def test_a_distillation_is_not_taken_in_once_its_session_has_ended(tenant: Tenant, random_adapters: list[Path]) -> None:
    row = distilled(tenant, random_adapters[0])
    sessions.end(tenant.workspace, "s")
    internalizing.take_in(row)
    assert Adapter.objects.count() == 0
    row.refresh_from_db()
    assert (row.status, row.content_hash) == ("expired", "")


def test_a_failed_distillation_that_is_tried_again_begins_anew(tenant: Tenant, random_adapters: list[Path]) -> None:
    adapters.register(tenant.workspace, random_adapters[0], adapters.Registration("made", "upload"))
    row = distilled(tenant, random_adapters[1])
    internalizing.take_in(row)
    row.refresh_from_db()
    assert (row.status, row.error_code, row.content_hash) == ("failed", "adapter_exists", "")
    Internalization.objects.filter(pk=row.pk).update(
        document_sha256=internalizing.Wanted("It opens at nine.").sha256, content_hash="of an older release"
    )
    tenant.http.delete("/v1/adapters/made").raise_for_status()
    record = internalize(tenant, "It opens at nine.", session_key="s", id="made", method="distill").json()
    assert (record["id"], record["status"]) == (str(row.pk), "running")
    row.refresh_from_db()
    assert (row.content_hash, row.document_text) == ("", "It opens at nine.")


def test_ends_are_remembered_for_a_day(tenant: Tenant) -> None:
    sessions.end(tenant.workspace, "old")
    sessions.end(tenant.workspace, "new")
    EndedSession.objects.filter(session_key="old").update(ended_at=Now() - timedelta(days=2))
    sessions.forget_old()
    assert EndedSession.objects.get().session_key == "new"


@pytest.mark.parametrize(("session_key", "may_be"), [("s", False), ("", True)])
def test_while_postgres_is_away_no_session_is_taken_to_live_on(
    tenant: Tenant, random_adapters: list[Path], session_key: str, may_be: bool
) -> None:
    wanted = adapters.Registration("mine", "d2l", session_key=session_key)
    adapter = adapters.register(tenant.workspace, random_adapters[0], wanted)
    known = KnownAdapter(adapter, has_expired=False, loaded_on=frozenset())
    facts = Facts(tenant.workspace, None, False, None, [], [], [], {"mine": known})
    assert may_be_old(facts) is may_be

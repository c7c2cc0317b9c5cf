"""Documents in the browser: the same functions, limits and codes as over the API."""

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from tests.d2l_service.conftest import POLICY
from tests.pages.conftest import SignIn
from tests.serving import Tenant
from workspace.models import Adapter, AuditEntry, Internalization, Role, Workspace


@pytest.fixture
def owner(tenant: Tenant) -> Client:
    client = Client()
    client.force_login(tenant.owner)
    return client


def made(owner: Client, **fields: object) -> Internalization:
    answer = owner.post("/documents", {"document_text": POLICY, "name": "Returns", **fields})
    assert answer.status_code == 302, answer.content.decode()
    row = Internalization.objects.get(name="Returns")
    assert answer.headers["location"] == f"/documents/{row.pk}"
    return row


def test_a_pasted_document_is_an_adapter_that_can_be_asked(owner: Client, tenant: Tenant) -> None:
    row = made(owner, ttl_seconds="10", ttl_unit="60", session_key="visitor", pin="on")
    assert (row.status, row.ttl_seconds, row.session_key, row.pinned) == ("ready", 600, "visitor", True)
    assert row.adapter is not None
    assert tenant.ask("How long?", row.adapter.adapter_id, max_tokens=1).status_code == 200
    page = owner.get(f"/documents/{row.pk}")
    assert 590 < page.context["row"]["left"] <= 600
    assert 'id="ask-document"' in page.content.decode()
    entry = AuditEntry.objects.get()
    assert (entry.action, entry.source, entry.details["method"]) == ("document.internalize", "page", "hypernet")


def test_a_file_takes_the_place_of_the_text(owner: Client, tenant: Tenant) -> None:
    row = made(owner, document_text="", document_file=SimpleUploadedFile("policy.txt", f"\ufeff{POLICY}".encode()))
    over_http = tenant.http.post("/v1/d2l/internalize", json={"document_text": POLICY}).json()
    assert over_http["id"] == str(row.pk)


def test_lines_pasted_in_a_browser_are_the_documents_lines(owner: Client, tenant: Tenant) -> None:
    row = made(owner, document_text=POLICY.replace(". ", ".\r\n"))
    body = {"document_text": POLICY.replace(". ", ".\n")}
    assert tenant.http.post("/v1/d2l/internalize", json=body).json()["id"] == str(row.pk)


def test_a_refusal_stands_beside_its_field_with_the_apis_code(owner: Client) -> None:
    for fields, status, field, code in (
        ({"document_text": " "}, 400, "document_text", "document_empty"),
        ({"document_text": "a\0b"}, 400, "document_text", "document_not_text"),
        ({"document_text": "word " * 3000, "method": "distill"}, 413, "document_text", "document_too_long"),
        ({"document_file": SimpleUploadedFile("a.pdf", b"%PDF\xff")}, 400, "document_file", "document_not_text"),
        ({"ttl_seconds": "soon"}, 400, "ttl_seconds", "invalid_value"),
        ({"ttl_seconds": "0"}, 400, "ttl_seconds", "invalid_value"),
        ({"ttl_seconds": "999999999", "ttl_unit": "86400"}, 400, "ttl_seconds", "invalid_value"),
        ({"method": "magic"}, 400, "method", "invalid_value"),
        ({"id": "a b"}, 400, "id", "invalid_value"),
        ({"session_key": "s" * 201}, 400, "session_key", "invalid_value"),
    ):
        answer = owner.post("/documents", {"document_text": POLICY, **fields})
        assert answer.status_code == status, field
        assert f"<code>{code}</code>" in answer.content.decode().split(f'id="{field}-problem"')[1][:300]
    assert not Internalization.objects.exists()


def test_what_was_typed_is_still_there_after_a_refusal(owner: Client) -> None:
    answer = owner.post("/documents", {"document_text": POLICY, "name": "Returns", "id": "a b"}).content.decode()
    assert "Acme&#x27;s returns desk" in answer
    assert 'value="Returns"' in answer


def test_a_session_is_ended_with_all_its_adapters(owner: Client, tenant: Tenant) -> None:
    row = made(owner, session_key="visitor")
    assert owner.post("/documents/end-session", {"session_key": "visitor"}).status_code == 302
    page = owner.get("/documents").content.decode()
    assert "1 of its adapters expired now" in page
    assert "badge-expired" in page
    assert Adapter.objects.filter(internalizations=row).unexpired().count() == 0
    assert AuditEntry.objects.filter(action="session.end", source="page").exists()


def test_one_that_is_being_made_shows_how_far_it_is_and_can_be_given_up(owner: Client) -> None:
    row = made(owner, method="distill")
    Internalization.objects.update(progress=0.4, message="Step 40 of 100")
    page = owner.get("/documents").content.decode()
    assert 'value="0.400"' in page
    assert "Step 40 of 100" in page
    assert "every 2s" in page
    assert owner.post(f"/adapters/{row.wanted_id}/delete", {"next": "/documents"}).headers["location"] == "/documents"
    row.refresh_from_db()
    assert row.status == "expired"
    assert AuditEntry.objects.filter(action="document.give_up").exists()


def test_the_list_narrows_to_a_session(browse: SignIn, acme: Workspace) -> None:
    for key in ("one", "two"):
        Internalization.objects.create(
            workspace=acme,
            wanted_id=f"of-{key}",
            session_key=key,
            status="failed",
            method="hypernet",
            error="It broke.",
        )
    page = browse(Role.VIEWER).get("/documents", {"session_key": "one"}).content.decode()
    assert "of-one" in page
    assert "of-two" not in page
    assert "It broke." in page


def test_more_text_than_a_form_may_hold_is_refused_in_words(owner: Client) -> None:
    answer = owner.post("/documents", {"document_text": "word " * 7_000_000})
    assert answer.status_code == 400
    assert "Choose a file instead" in answer.content.decode()

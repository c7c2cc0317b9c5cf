"""What ends in the browser: a document's time, a login's wait for approval, a workspace's money."""

import httpx
import pytest
from playwright.sync_api import Page, expect

from billing.models import RateCard, WorkspaceLimit
from tests.d2l_service.conftest import POLICY
from tests.pages.chromium import Open, Watch, sign_in
from tests.serving import Tenant
from workspace.cli.login import GRANT
from workspace.models import CliToken


@pytest.fixture
def page(open_page: Open, tenant: Tenant) -> Page:
    page = open_page()
    sign_in(page, tenant.owner.email)
    return page


def internalize(page: Page, **fields: str) -> None:
    page.goto("/documents")
    page.get_by_label("Text", exact=True).fill(POLICY)
    for label, value in fields.items():
        page.get_by_label(label).fill(value)
    page.get_by_role("button", name="Internalize").click()


def test_a_document_is_asked_at_once(page: Page) -> None:
    watch = Watch(page)
    internalize(page, Name="Returns")
    expect(page.get_by_role("heading", name="Returns")).to_be_visible()
    page.get_by_label("Your question").fill("How many days do I have to return goods?")
    page.get_by_role("button", name="Ask", exact=True).click()
    expect(page.locator(".facts", has_text="cost")).to_be_visible()
    expect(page.locator(".turn.assistant")).not_to_be_empty()
    assert watch.complaints == []


def test_a_document_with_five_seconds_to_live_is_watched_as_it_expires(page: Page) -> None:
    watch = Watch(page)
    internalize(page, Name="Brief", Lives="5")
    expect(page.get_by_text("expires in")).to_be_visible()
    page.evaluate("document.body.dataset.stayed = 'yes'")
    page.get_by_label("Your question").fill("How many days?")
    expect(page.locator(".badge-expired")).to_be_visible()
    assert page.evaluate("document.body.dataset.stayed") == "yes"
    assert watch.complaints == []
    page.get_by_role("button", name="Ask", exact=True).click()
    expect(page.locator(".turn.failed")).to_contain_text("expired")
    assert [complaint for complaint in watch.complaints if "410" not in complaint] == []


def test_a_command_line_login_is_approved(page: Page, base_url: str, tenant: Tenant) -> None:
    watch = Watch(page)
    with httpx.Client(base_url=base_url) as terminal:
        begun = terminal.post("/api/v1/cli/device/code", json={"client_name": "ann's laptop"}).json()
        page.goto("/cli")
        page.get_by_label("Code shown in your terminal").fill(begun["user_code"])
        page.get_by_role("button", name="Continue").click()
        expect(page.get_by_text("ann's laptop")).to_be_visible()
        page.get_by_role("button", name="Approve").click()
        expect(page.get_by_text(f"may now act as {tenant.owner.email}")).to_be_visible()
        grant = {"device_code": begun["device_code"], "grant_type": GRANT}
        answer = terminal.post("/api/v1/cli/device/token", json=grant).json()
    assert answer["workspace_id"] == str(tenant.workspace.pk)
    assert CliToken.objects.get(user=tenant.owner).workspace == tenant.workspace
    assert watch.complaints == []


def test_a_spent_budget_is_said_where_the_answer_would_be(page: Page, tenant: Tenant) -> None:
    RateCard.objects.create(model="*", input_rate="1000000", output_rate="1000000")  # £1 for each token
    WorkspaceLimit.objects.create(workspace=tenant.workspace, monthly_budget_pence=10_000)
    watch = Watch(page)
    page.goto("/playground")
    page.get_by_text("Parameters").click()
    page.get_by_label("Most tokens").fill("12")
    page.get_by_label("Your message").fill("Hello?")
    page.get_by_role("button", name="Send").click()
    expect(page.locator(".facts", has_text="cost")).to_be_visible()
    assert watch.complaints == []
    page.get_by_label("Your message").fill("And now tell me everything you know about it." * 2)
    page.get_by_role("button", name="Send").click()
    expect(page.locator(".turn.failed")).to_contain_text("budget")
    assert [complaint for complaint in watch.complaints if "402" not in complaint] == []

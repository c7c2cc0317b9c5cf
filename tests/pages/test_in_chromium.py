"""The dashboard as a person uses it: Chromium, the real server, the real model."""

from pathlib import Path

from playwright.sync_api import expect

from billing.models import UsageEvent
from tests.pages.chromium import Open, Watch, sign_in
from tests.pages.conftest import PASSWORD, member
from tests.serving import Tenant
from workspace.models import ApiKey, Role


def test_a_first_visit_from_sign_in_to_a_metered_answer(
    open_page: Open, tenant: Tenant, random_adapters: list[Path]
) -> None:
    tenant.register("tone", random_adapters[0])
    page = open_page()
    watch = Watch(page)
    sign_in(page, tenant.owner.email)

    page.get_by_role("button", name="Load tone").click()
    expect(page.get_by_text("tone is loaded.")).to_be_visible()

    page.get_by_role("link", name="Open the playground").click()
    page.get_by_text("Parameters").click()
    page.get_by_label("Most tokens").fill("12")
    page.get_by_label("Your message").fill("What is our refund policy?")
    page.get_by_role("button", name="Send").click()
    answers = page.locator(".turn.assistant")
    expect(page.locator(".facts", has_text="cost")).to_have_count(2)
    expect(answers).to_have_count(2)
    base, adapted = answers.all_text_contents()
    assert base.strip()
    assert base != adapted
    expect(page.locator("[data-pane=adapter] .facts")).to_contain_text("local/local/tone")
    expect(page.locator("#as-curl")).to_contain_text("x-hybrie-adapter-id: tone")
    expect(page.locator("#as-python")).to_contain_text("max_tokens=12")
    events = UsageEvent.objects.filter(workspace=tenant.workspace)
    assert {event.adapter_id for event in events} == {None, "tone"}

    page.get_by_role("link", name="Usage").click()
    expect(page.locator("#events ~ .scroll tbody tr")).to_have_count(2)
    page.locator("#events ~ .scroll tbody tr", has_text="tone").get_by_role("link").click()
    expect(page.get_by_text("served by the engine of this node")).to_be_visible()

    page.get_by_role("link", name="Overview").click()
    expect(page.get_by_role("img", name="50 % of requests went through adapters")).to_be_visible()
    expect(page.locator("#activity tbody tr")).to_have_count(2)
    assert watch.complaints == []


def test_adapters_come_and_go_without_leaving_the_page(
    open_page: Open, tenant: Tenant, random_adapters: list[Path]
) -> None:
    page = open_page()
    watch = Watch(page)
    sign_in(page, tenant.owner.email)
    page.get_by_role("navigation").get_by_role("link", name="Adapters").click()
    expect(page.get_by_text("There is no adapter yet")).to_be_visible()

    folder = random_adapters[0]
    page.get_by_label("Files").set_input_files([folder / "adapter_config.json", folder / "adapter_model.safetensors"])
    page.locator("#upload-id").fill("tone")
    page.get_by_role("button", name="Upload").click()
    expect(page.get_by_role("heading", name="tone")).to_be_visible()
    expect(page.get_by_text("No request in the last 30 days.")).to_be_visible()

    page.get_by_role("navigation").get_by_role("link", name="Adapters").click()
    row = page.locator("tbody tr", has_text="tone")
    row.get_by_role("button", name="Load").click()
    expect(row.locator(".badge-loaded")).to_be_visible()
    expect(page.get_by_role("img", name="1 of 4 slots used")).to_be_visible()
    row.get_by_role("button", name="Pin", exact=True).click()
    expect(row.get_by_role("button", name="Unpin")).to_be_visible()
    row.get_by_role("button", name="Unload").click()
    expect(row.locator(".badge-registered")).to_be_visible()
    page.once("dialog", lambda dialog: dialog.accept())
    row.get_by_role("button", name="Delete").click()
    expect(page.get_by_text("tone is deleted.")).to_be_visible()
    assert watch.complaints == []


def test_a_refused_upload_says_why_beside_the_field(open_page: Open, tenant: Tenant, tmp_path: Path) -> None:
    pickle = tmp_path / "adapter_model.bin"
    pickle.write_bytes(b"\x80")
    page = open_page()
    sign_in(page, tenant.owner.email)
    page.goto("/adapters")
    page.get_by_label("Files").set_input_files([pickle])
    page.locator("#upload-id").fill("tone")
    page.get_by_role("button", name="Upload").click()
    expect(page.locator("#upload-files-problem")).to_contain_text("is a pickle")


def test_a_refused_form_points_at_its_field(open_page: Open, tenant: Tenant) -> None:
    page = open_page()
    sign_in(page, tenant.owner.email)
    page.goto("/documents")
    page.get_by_label("Text", exact=True).fill("Goods may be returned.")
    page.get_by_label("Adapter id").fill("not an id")
    page.get_by_role("button", name="Internalize").click()
    field = page.get_by_label("Adapter id")
    expect(field).to_be_focused()
    expect(field).to_have_attribute("aria-invalid", "true")
    expect(field).to_have_accessible_description("An id has 1 to 128 of the characters A-Z a-z 0-9 . _ - invalid_value")
    expect(page.get_by_label("Text", exact=True)).to_have_value("Goods may be returned.")


def test_a_key_is_made_shown_once_and_revoked(open_page: Open, tenant: Tenant) -> None:
    page = open_page()
    watch = Watch(page)
    sign_in(page, tenant.owner.email)
    page.get_by_role("link", name="Keys").click()
    page.get_by_label("Name").fill("Support bot")
    page.get_by_role("button", name="Create key").click()
    secret = page.locator("#secret").text_content()
    assert secret is not None
    assert ApiKey.find(secret) is not None
    page.reload()
    page.get_by_role("link", name="Keys").click()
    row = page.locator("tbody tr", has_text="Support bot").first
    page.once("dialog", lambda dialog: dialog.accept())
    row.get_by_role("button", name="Revoke").click()
    expect(page.get_by_text("Support bot is revoked.")).to_be_visible()
    assert watch.complaints == []


def test_a_viewer_reads_and_is_offered_nothing_else(open_page: Open, tenant: Tenant) -> None:
    viewer = member(tenant.workspace, Role.VIEWER, "viewer@example.com", PASSWORD)
    page = open_page()
    watch = Watch(page)
    sign_in(page, viewer.email)
    reads = (
        "/adapters",
        "/documents",
        "/playground",
        "/jobs",
        "/keys",
        "/backends",
        "/providers",
        "/members",
        "/billing",
    )
    for path in reads:
        page.goto(path)
        expect(page.locator("main button, main input, main textarea")).to_have_count(0)
    assert watch.complaints == []
    status = page.evaluate(
        """() => fetch("/keys", {method: "POST", headers: {"X-CSRFToken":
        document.querySelector("meta[name=csrf-token]").content}}).then((answer) => answer.status)"""
    )
    assert status == 403

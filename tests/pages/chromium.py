"""A real Chromium that watches what its pages complain of."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

CHROMIUM = Path("/usr/bin/chromium")
ARGUMENTS = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync"),
)
NAVIGATED_AWAY = "net::ERR_ABORTED"
DESKTOP = {"width": 1360, "height": 900}
PASSWORD = "a long password"
Open = Callable[..., Page]


@contextmanager
def chromium() -> Iterator[Browser]:
    if not CHROMIUM.exists():
        pytest.skip(f"THE BROWSER TESTS DO NOT RUN: there is no {CHROMIUM}")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()


class Watch:
    """Collects console errors, script errors, failed requests and refused answers of a page."""

    def __init__(self, page: Page) -> None:
        self.complaints: list[str] = []
        page.on("console", lambda message: message.type == "error" and self.note(f"console: {message.text}"))
        page.on("pageerror", lambda error: self.note(f"script: {error}"))
        page.on("response", lambda answer: answer.status >= 400 and self.note(f"{answer.status} {answer.url}"))
        page.on(
            "requestfailed",
            lambda request: request.failure != NAVIGATED_AWAY and self.note(f"{request.failure} {request.url}"),
        )

    def note(self, complaint: str) -> None:
        self.complaints.append(complaint)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Playwright keeps an event loop in this thread, which Django would take for a reason not to touch the database."""
    with pytest.MonkeyPatch.context() as patch, chromium() as browser:
        patch.setitem(os.environ, "DJANGO_ALLOW_ASYNC_UNSAFE", "1")
        yield browser


@pytest.fixture
def open_page(browser: Browser, base_url: str) -> Iterator[Open]:
    contexts = []

    def open_page(**options: object) -> Page:
        context = browser.new_context(base_url=base_url, viewport=DESKTOP, **options)
        context.set_default_timeout(20_000)
        contexts.append(context)
        return context.new_page()

    expect.set_options(timeout=20_000)
    yield open_page
    for context in contexts:
        context.close()


def sign_in(page: Page, email: str) -> None:
    page.goto("/")
    page.get_by_label("Email").fill(email)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("heading", name="Overview")).to_be_visible()

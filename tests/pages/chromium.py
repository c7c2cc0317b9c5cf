"""A real Chromium that watches what its pages complain of."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

CHROMIUM = Path("/usr/bin/chromium")
ARGUMENTS = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync"),
)
NAVIGATED_AWAY = "net::ERR_ABORTED"


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

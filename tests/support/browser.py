"""The browser that pages are opened in."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from playwright.sync_api import Browser, Page, Playwright

DESKTOP = (1200, 900)
PHONE = (360, 740)

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "chrome"))), None)


@dataclass
class Opened:
    """A page in the browser, and whatever it asked for or complained of."""

    page: Page
    load_s: float
    complaints: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)


def launched(playwright: Playwright) -> Browser:
    return playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])


def new_page(browser: Browser) -> Page:
    """A tab without a network."""
    return browser.new_context(offline=True).new_page()


@contextmanager
def opened(
    page: Page,
    path: Path,
    size: tuple[int, int] = DESKTOP,
    theme: Literal["light", "dark"] = "light",
) -> Iterator[Opened]:
    """`path` in this tab as it is when all is drawn, as if it were opened for the first time."""
    width, height = size
    page.set_viewport_size({"width": width, "height": height})
    page.emulate_media(color_scheme=theme)
    found = Opened(page, 0.0)
    heard: dict[str, Callable[[Any], None]] = {
        "console": lambda message: found.complaints.append(f"{message.type}: {message.text}"),
        "pageerror": lambda problem: found.complaints.append(str(problem)),
        "dialog": lambda dialog: found.complaints.append(f"dialog: {dialog.message}"),
        "request": lambda request: found.requests.append(request.url),
    }
    for event, listener in heard.items():
        page.on(event, listener)  # type: ignore[call-overload]
    start = time.perf_counter()
    page.goto(path.resolve().as_uri())
    page.wait_for_selector("html[data-ready]")
    found.load_s = time.perf_counter() - start
    try:
        yield found
        page.evaluate("localStorage.clear()")
    finally:
        for event, listener in heard.items():
            page.remove_listener(event, listener)

"""The browser that pages are opened in."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

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


@contextmanager
def opened(
    browser: Browser,
    path: Path,
    size: tuple[int, int] = DESKTOP,
    theme: Literal["light", "dark"] = "light",
) -> Iterator[Opened]:
    """`path` as it is when all is drawn, without a network."""
    width, height = size
    context = browser.new_context(
        offline=True, viewport={"width": width, "height": height}, color_scheme=theme
    )
    found = Opened(context.new_page(), 0.0)
    page = found.page
    page.on("console", lambda message: found.complaints.append(f"{message.type}: {message.text}"))
    page.on("pageerror", lambda problem: found.complaints.append(str(problem)))
    page.on("dialog", lambda dialog: found.complaints.append(f"dialog: {dialog.message}"))
    page.on("request", lambda request: found.requests.append(request.url))
    start = time.perf_counter()
    page.goto(path.resolve().as_uri())
    page.wait_for_selector("html[data-ready]")
    found.load_s = time.perf_counter() - start
    try:
        yield found
    finally:
        context.close()

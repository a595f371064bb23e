"""Make the pictures of the page that the documentation shows, again.

PYTHONPATH=tests python tests/support/screenshots.py

A matrix that was measured on an H200 is replayed within 16 GB, and its page photographed in
headless Chromium, light and dark, into docs/images.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Literal

from playwright.sync_api import FloatRect, Page, sync_playwright

from support.browser import launched, new_page, opened
from support.profiles import DATA

FOLDER = Path(__file__).parents[2] / "docs" / "images"
SIZE = (1200, 1000)
ANSWER_SIZE = (880, 900)
THEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")


def replayed(folder: Path) -> Path:
    """The page of the replay."""
    command = [
        *(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"),
        f"--yourai-replay={DATA / 'matrix_h200_llama8b_256.json'}",
        "--yourai-max-memory=16",
        "--yourai-report=page.html",
    ]
    subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)
    return folder / "page.html"


def of_the_answer(page: Page) -> FloatRect:
    """The part of the page with the best configuration and its memory."""
    above = page.get_by_role("heading", name="Train with it").bounding_box()
    assert above is not None
    return {"x": 0, "y": 0, "width": ANSWER_SIZE[0], "height": above["y"] - 8}


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as name, sync_playwright() as playwright:
        path = replayed(Path(name))
        browser = launched(playwright)
        with opened(new_page(browser), path, SIZE, "light") as found:
            found.page.screenshot(path=FOLDER / "page-light.png")
        with opened(new_page(browser), path, SIZE, "dark") as found:
            found.page.locator("#memory-speed").scroll_into_view_if_needed()
            found.page.evaluate("document.getElementById('heat-map').scrollIntoView()")
            found.page.screenshot(path=FOLDER / "page-dark.png")
        for theme in THEMES:
            with opened(new_page(browser), path, ANSWER_SIZE, theme) as found:
                found.page.screenshot(
                    path=FOLDER / f"answer-{theme}.png", clip=of_the_answer(found.page)
                )
        browser.close()


if __name__ == "__main__":
    main()

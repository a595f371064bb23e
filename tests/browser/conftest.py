from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, sync_playwright

from support.browser import launched


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One for all tests of a file, which are a group of xdist for that."""
    with sync_playwright() as playwright:
        browser = launched(playwright)
        yield browser
        browser.close()

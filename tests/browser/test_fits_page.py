"""The page of what fits where, in a real browser with the network off."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser

from pytest_yourai.report.page.fits_page import fits_page
from pytest_yourai.store.what_fits.measured import read_collection
from pytest_yourai.store.what_fits.table import FitsTable

from support.browser import CHROMIUM, new_page, opened
from support.fits import MAX_64, PRO_24, of_machine, written

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed"),
    pytest.mark.xdist_group("browser"),
]


def test_a_table_is_sorted_and_filtered(browser: Browser, tmp_path: Path) -> None:
    def another(found: dict[str, Any]) -> None:
        found["model"] = "another"

    profiles = tmp_path / "profiles"
    profiles.mkdir()
    documents = (
        of_machine(MAX_64, 51),
        of_machine(PRO_24, 13, speed=0.5),
        of_machine(PRO_24, 13, another),
    )
    found = read_collection([written(profiles, *documents)])
    path = tmp_path / "page.html"
    path.write_text(fits_page(FitsTable.of(found.profiles), found))
    with opened(new_page(browser), path) as shown:
        page = shown.page
        rows, status = page.locator("#fits tbody tr"), page.locator("[role=status]")
        assert status.inner_text() == "2 machines, 2 columns"
        assert "3,440 tokens/s" in rows.first.inner_text()
        assert rows.first.locator(".fit.unknown").inner_text().startswith("~ batch=4")
        page.get_by_role("button", name="Memory").click()
        assert "Apple M4 Pro" in rows.first.inner_text()
        page.get_by_role("button", name="llama-8b").click()
        assert "Apple M4 Max" in rows.first.inner_text()
        page.select_option("#by-memory", label="25.8 GB (24 GiB)")
        assert (rows.count(), status.inner_text()) == (1, "1 machine, 2 columns")
        page.fill("#by-text", "ANOTHER")
        assert status.inner_text() == "1 machine, 1 column"
        assert Axe().run(page).response["violations"] == []
        assert shown.complaints == []
        assert shown.requests == [path.resolve().as_uri()]

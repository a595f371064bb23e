"""The page of what fits where, before a browser draws it."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from pathlib import Path
from typing import Any

from pytest_yourai.report.page.fits_page import fits_page
from pytest_yourai.store.what_fits.measured import read_collection
from pytest_yourai.store.what_fits.table import FitsTable

from support.fits import MAX_64, PRO_24, of_machine, written
from support.profiles import HOSTILE, hostile


def page_of(folder: Path, *documents: dict[str, Any]) -> str:
    found = read_collection([written(folder, *documents)])
    return fits_page(FitsTable.of(found.profiles), found)


def data_of(page: str) -> dict[str, Any]:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page)
    assert found
    data: dict[str, Any] = json.loads(found[1])
    return data


def test_the_data_are_those_of_the_table(tmp_path: Path) -> None:
    def another(found: dict[str, Any]) -> None:
        found["model"] = "another"

    page = page_of(tmp_path, of_machine(MAX_64, 51), of_machine(PRO_24, 13, another))
    data = data_of(page)
    assert data["profiles"] == 2
    assert [each["memory"] for each in data["machines"]] == ["68.7 GB (64 GiB)", "25.8 GB (24 GiB)"]
    assert {each["model"] for each in data["trainings"]} == {"llama-8b", "another"}
    assert [(each["is_measured"], each["speed"] is not None) for each in data["cells"]] == [
        (False, False),
        (True, True),
        (True, True),
        (False, False),
    ]
    assert data["cells"][0]["about"] == (
        "1 measurement on Apple M4 Pro, 16 GPU cores, budget 51.0 GB"
    )
    assert data["cells"][1]["lines"][1] == "needs 18.9 GB"


def test_its_policy_allows_its_own_script_alone(tmp_path: Path) -> None:
    page = page_of(tmp_path, hostile())
    scripts = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    assert len(scripts) == 1
    digest = base64.b64encode(hashlib.sha256(scripts[0].encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}';" in page
    assert "connect-src 'none'" in page


def test_hostile_texts_are_data(tmp_path: Path) -> None:
    page = page_of(tmp_path, hostile())
    assert "<img" not in page
    assert data_of(page)["trainings"][0]["model"] == HOSTILE


def test_it_is_small(tmp_path: Path) -> None:
    assert len(page_of(tmp_path, of_machine(MAX_64, 51)).encode()) < 60_000

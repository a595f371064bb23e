"""`fits()`: the table of many profiles, for programs."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from pytest_yourai import InputError, fits

from support.fits import MAX_64, of_machine, written
from support.profiles import QUICK


def test_the_table_of_files_and_folders(tmp_path: Path) -> None:
    written(tmp_path, of_machine(MAX_64, 51), {})
    found = fits(QUICK, str(tmp_path), objective="tokens_per_second")
    assert [each["machine"] for each in found.rows] == ["Apple M4 Max, 40 GPU cores", "NVIDIA H200"]
    assert len(found.left_out) == 1
    assert "NVIDIA H200" in repr(found)
    assert found.to_markdown().startswith("| machine |")
    assert found.to_html().startswith("<!DOCTYPE html>")
    assert list(found.to_pandas()["backend"]) == ["metal", "cuda"]


def test_mistakes_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="objective: 'x' is not valid: it must be one of score"):
        fits(QUICK, objective="x")
    with pytest.raises(InputError, match="nothing to show"):
        fits()
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match="pip install pandas"):
        fits(QUICK).to_pandas()

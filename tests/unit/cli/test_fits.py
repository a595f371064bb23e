"""`yourai fits`: a table on stdout, and what was left out on stderr."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pytest_yourai.cli.flags import FITS_FORMATS
from pytest_yourai.cli.main import main

from support.fits import MAX_64, of_machine, written
from support.profiles import DATA, QUICK


@pytest.mark.parametrize("name", FITS_FORMATS)
def test_each_format_is_all_that_is_printed(capsys: pytest.CaptureFixture[str], name: str) -> None:
    assert main(["fits", str(QUICK), "--format", name]) == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    assert "NVIDIA H200" in printed.out


def test_what_is_left_out_is_named(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    written(tmp_path, of_machine(MAX_64, 51), *({} for _ in range(7)))
    assert main(["fits", str(tmp_path), "--format=json"]) == 0
    printed = capsys.readouterr()
    assert len(json.loads(printed.out)) == 1
    assert len(printed.err.splitlines()) == 6
    assert printed.err.startswith("yourai fits: left out: ")
    assert printed.err.endswith("yourai fits: left out: 2 further files\n")


def test_the_fastest_is_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    speeds = []
    for objective in ("score", "tokens_per_second"):
        arguments = ["fits", str(QUICK), "--format=json", f"--objective={objective}"]
        assert main(arguments) == 0
        speeds.append(json.loads(capsys.readouterr().out)[0]["tokens_per_second"])
    assert speeds[0] < speeds[1]


def test_a_file_that_is_no_profile_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fits", str(DATA / "floors_cpu.json")]) == 2
    assert "model: it must name the model" in capsys.readouterr().err

"""`yourai share` and `yourai check`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pytest_yourai.cli.main import main

from support.profiles import DATA, QUICK, document


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_profile_is_shared_checked_and_shown(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["share", str(QUICK)]) == 0
    printed = capsys.readouterr().out.splitlines()
    [path] = folder.iterdir()
    assert path.name.startswith("llama-8b-4-bit-512-tokens-nvidia-h200-")
    assert printed[0] == f"Written: {path.name}"
    assert printed[3] == "llama-8b (4-bit, 512 tokens) on NVIDIA H200, 150.8 GB (140 GiB)"
    assert printed[5].startswith("12 of 12 configurations fit within 110.0 GB; python 3.12.3, mlx")
    assert main(["check", path.name]) == 0
    assert capsys.readouterr().out == "1 file, 0 faults\n"
    assert main(["fits", path.name]) == 0
    assert "batch=4, rank=128, layers=32" in capsys.readouterr().out


def test_nothing_is_overwritten(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "x.json").write_text("mine")
    assert main(["share", str(QUICK), "-o", "x.json"]) == 2
    assert capsys.readouterr().err == (
        "yourai share: --output: x.json is there already: name another file\n"
    )
    assert (folder / "x.json").read_text() == "mine"
    assert main(["share", str(QUICK), "-o", "y.json"]) == 0
    # The same content again changes nothing.
    assert main(["share", str(QUICK), "-o", "y.json"]) == 0


def test_what_would_not_pass_is_not_written(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = folder / "p.json"
    path.write_text(json.dumps(document(lambda found: found.update(complete=False))))
    assert main(["share", "p.json"]) == 1
    assert list(folder.iterdir()) == [path]
    assert capsys.readouterr().err.startswith(
        "yourai share: not shared: p.json: llama-8b: complete: the sweep was interrupted"
    )


def test_where_nothing_fits_that_is_told(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def change(found: dict[str, object]) -> None:
        rows: list[dict[str, object]] = found["all_results"]  # type: ignore[assignment]
        found["memory_limit_gb"] = 5.0
        for row in rows:
            row.update(outcome="over_budget", success=False, error="over", step_times_s=[])
            row.update(step_tokens=[], peak_memory_bytes=None)

    (folder / "p.json").write_text(json.dumps(document(change)))
    assert main(["share", "p.json"]) == 0
    printed = capsys.readouterr().out
    assert "0 of 12 configurations fit within 5.0 GB" in printed
    assert "| answer" not in printed


def test_each_model_of_a_walk_has_a_file_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    walk = str(DATA / "h200_benchmark_24gb.json")
    assert main(["share", walk, "-o", "x.json"]) == 2
    assert "has several models: leave it out" in capsys.readouterr().err
    assert main(["share", walk]) == 1
    assert "not shared: " in capsys.readouterr().err


def test_faults_are_lines_with_file_and_key(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "a").mkdir()
    (folder / "a" / "x.json").write_text("{}")
    assert main(["check", "a"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("a/x.json: schema_version: it is missing")
    assert lines[1] == "1 file, 1 fault"
    assert main(["check", "a", "--format=json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert found["files"] == ["a/x.json"]
    assert found["faults"][0]["key"] == "schema_version"


def test_a_file_that_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "none.json"]) == 2
    assert capsys.readouterr().err.startswith("yourai check: none.json is no file: name a shared")


def test_a_folder_that_is_named_like_a_repository_is_not_shared(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def change(found: dict[str, Any]) -> None:
        found["model"] = "mine"
        found["settings"]["model"] = "me/mine"

    (folder / "p.json").write_text(json.dumps(document(change)))
    assert main(["share", "p.json"]) == 0
    (folder / "me" / "mine").mkdir(parents=True)
    assert main(["share", "p.json"]) == 2
    assert "settings.model: me/mine is a folder here" in capsys.readouterr().err

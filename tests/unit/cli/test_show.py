"""`yourai show`: rows on stdout and nothing else, whatever stdout is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pytest_yourai.cli.main import main

DATA = Path(__file__).parents[2] / "data"
QUICK = str(DATA / "h200_llama8b_quick.json")
WALK = str(DATA / "h200_benchmark_24gb.json")


@pytest.mark.parametrize("name", ["table", "md", "json", "jsonl", "csv"])
def test_each_format_is_all_that_is_printed(capsys: pytest.CaptureFixture[str], name: str) -> None:
    assert main(["show", QUICK, WALK, "--format", name]) == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    assert "hermes-70b" in printed.out
    if name == "json":
        assert len(json.loads(printed.out)) == 17
    elif name != "md":
        header = name in ("table", "csv")
        rows = printed.out.split("\n* unbeaten", maxsplit=1)[0]
        assert len(rows.splitlines()) == 17 + header


def test_without_a_name_it_is_what_a_sweep_has_left_here(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["show"]) == 2
    message = "yourai show: there is no optimal_config.json or benchmark_results.json here: name a"
    assert capsys.readouterr().err.startswith(message)
    (tmp_path / "optimal_config.json").write_bytes(Path(QUICK).read_bytes())
    assert main(["show", "--format=jsonl"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 12
    (tmp_path / "benchmark_results.json").write_bytes(Path(WALK).read_bytes())
    assert main(["show", "--format=jsonl"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 17


def test_a_profile_alone_is_not_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", QUICK, "--format=jsonl"]) == 0
    assert "profile" not in json.loads(capsys.readouterr().out.splitlines()[0])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "cannot be read: No such file or directory"),
        ("{", "is not JSON"),
        ("{}", "model: it must name the model"),
        ('{"schema_version": 99, "model": "m"}', "99 is newer than 1"),
    ],
)
def test_what_cannot_be_read_is_one_sentence_on_stderr(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, text: str | None, message: str
) -> None:
    path = tmp_path / "p.json"
    if text is not None:
        path.write_text(text)
    assert main(["show", QUICK, str(path), "--format=csv"]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("yourai show: ")
    assert message in printed.err
    assert printed.err.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([QUICK, "--format", "xml"], "--format: invalid choice: 'xml'"),
        ([QUICK, "--formt", "md"], "yourai show: unknown flag --formt"),
    ],
)
def test_a_mistake_is_status_2(
    capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["show", *arguments])
    assert ended.value.code == 2
    assert message in capsys.readouterr().err

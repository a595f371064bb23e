import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pytest_yourai.cli.main import main

from support.profiles import document, failing, larger, slower

Plan = Callable[[dict[str, Any]], object]
RECORDING = Path(__file__).parents[2] / "data" / "matrix_h200_llama8b_256.json"


def write(folder: Path, name: str, *changes: Plan) -> str:
    path = folder / name
    path.write_text(json.dumps(document(*changes)), encoding="utf-8")
    return str(path)


def test_equal_profiles_pass(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", write(tmp_path, "a.json"), write(tmp_path, "b.json")]) == 0
    assert "No regression" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("change", "flags", "status"),
    [
        (slower(1.2), [], 1),
        (larger(1.1), [], 1),
        (failing(0, "oom"), ["--fail-on", "minimum_memory:90%"], 1),
        (slower(1.2), ["--fail-on", "minimum_memory:5%"], 0),
        (slower(1.2), ["--fail-on", "minimum_memory:5%", "--fail-on", "mean_step_time:10%"], 1),
        (slower(1.2), ["--fail-on", "none"], 0),
    ],
)
def test_the_status_is_that_of_the_gate(
    tmp_path: Path, change: Plan, flags: list[str], status: int
) -> None:
    files = [write(tmp_path, "a.json"), write(tmp_path, "b.json", change)]
    assert main(["compare", *files, *flags]) == status


def test_every_further_profile_is_held_against_the_first(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = [
        write(tmp_path, "a.json"),
        write(tmp_path, "b.json"),
        write(tmp_path, "c.json", larger(1.1, 0)),
    ]
    assert main(["compare", *files]) == 1
    out = capsys.readouterr().out
    assert out.count("compared with") == 2
    assert out.count("REGRESSION") == 1


def test_old_and_foreign_profiles_are_read(tmp_path: Path) -> None:
    def old(it: dict[str, Any]) -> None:
        del it["schema_version"]
        for row in it["all_results"]:
            for key in ("step_tokens", "conclusive", "warnings", "started", "kept"):
                row.pop(key, None)

    assert main(["compare", write(tmp_path, "a.json", old), write(tmp_path, "b.json")]) == 0
    assert main(["compare", str(RECORDING), str(RECORDING)]) == 0


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "is not JSON"),
        ("{}", "model: it must name"),
        ('{"schema_version": 99}', "schema_version: 99 is newer"),
        ("[1]", "is not a profile"),
    ],
)
def test_a_bad_file_is_refused_in_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str, said: str
) -> None:
    bad = tmp_path / "bad.json"
    bad.write_text(content, encoding="utf-8")
    assert main(["compare", write(tmp_path, "a.json"), str(bad)]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert said in err
    assert err.count("\n") == 1


def test_a_bad_name_is_refused_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["compare", write(tmp_path, "a.json"), f"{tmp_path}/no\x1b[31m\n.json"]) == 2
    err = capsys.readouterr().err
    assert "no .json cannot be read" in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--fail-on", "speed:5%"], "--fail-on: 'speed:5%' is not valid: it must be METRIC:5%"),
        (["--nothing"], "unknown flag --nothing"),
    ],
)
def test_a_mistaken_flag_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    files = [write(tmp_path, "a.json"), write(tmp_path, "b.json")]
    try:
        status = main(["compare", *files, *arguments])
    except SystemExit as end:
        status = int(str(end.code))
    assert status == 2
    assert said in capsys.readouterr().err


def test_one_profile_is_too_few(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", write(tmp_path, "a.json")]) == 2
    assert "name at least two profiles" in capsys.readouterr().err

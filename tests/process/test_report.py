"""`--yourai-report` and `yourai report`: when the page is written, and when it is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pytest_yourai.cli.main import main

from support.profiles import later

RECORDED = Path(__file__).parents[1] / "data" / "h200_llama8b_quick.json"


def data_in(path: Path) -> dict[str, Any]:
    text = path.read_text(encoding="utf-8")
    found: dict[str, Any] = json.loads(text.partition('id="data">')[2].partition("</script>")[0])
    return found


def test_a_session_ends_with_the_page_of_what_it_measured(pytester: pytest.Pytester) -> None:
    done = pytester.runpytest_inprocess(
        f"--yourai-replay={RECORDED}", f"--yourai-compare={RECORDED}", "--yourai-report=page.html"
    )
    done.stdout.fnmatch_lines(["Saved to: optimal_config.json", "Page: page.html"])
    found = data_in(pytester.path / "page.html")
    assert [each["name"] for each in found["profiles"]] == [str(RECORDED), "optimal_config.json"]
    assert found["opened"] == 1
    assert len(found["comparisons"]) == 1
    assert "--profile optimal_config.json" in found["profiles"][1]["command"]["text"]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--yourai-report=no/page.html"], "*--yourai-report: *page.html cannot be written: No *"),
        (["--yourai-report=a.json", "--yourai-output=a.json"], "*--yourai-report are one file*"),
        (["--yourai-report=p.pdf"], "*--yourai-report: a page is HTML, not .pdf: name it *p.html"),
    ],
)
def test_it_is_refused_before_the_sweep(
    pytester: pytest.Pytester, flags: list[str], message: str
) -> None:
    done = pytester.runpytest_inprocess(f"--yourai-replay={RECORDED}", *flags)
    assert done.ret == pytest.ExitCode.USAGE_ERROR
    done.stderr.fnmatch_lines([message])


def test_the_command_makes_a_history_of_a_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for month in (1, 2):
        (tmp_path / f"{month}.json").write_text(json.dumps(later(month, "1", 1)))
    (tmp_path / "other.json").write_text("{}")
    page = tmp_path / "page.html"
    assert main(["report", str(tmp_path), "-o", str(page)]) == 0
    said = capsys.readouterr()
    assert said.out == f"Page: {page}\n"
    assert said.err == "yourai report: left out, no profiles: other.json\n"
    found = data_in(page)
    assert len(found["history"][0]["points"]) == 2
    assert found["left_out"][0]["name"] == "other.json"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["none.json", "-o", "page.html"], "none.json cannot be read"),
        ([".", "-o", "page.html"], ". has no profile"),
        ([str(RECORDED), "-o", "no/page.html"], "--output: no/page.html cannot be written"),
        (["mine.json", "-o", "mine.json"], "--output: mine.json is read for the page"),
    ],
)
def test_bad_input_is_one_sentence(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    if "mine.json" in arguments:
        (tmp_path / "mine.json").write_bytes(RECORDED.read_bytes())
    assert main(["report", *arguments]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith(f"yourai report: {message}")
    assert said.err.count("\n") == 1
    assert not (tmp_path / "page.html").exists()

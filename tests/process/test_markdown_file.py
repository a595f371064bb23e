"""The file of --yourai-markdown, and the summary of a job on GitHub."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.processes import SweepResult

RECORDING = Path(__file__).parents[1] / "data" / "h200_llama8b_quick.json"


def replay(pytester: pytest.Pytester, *flags: str) -> SweepResult:
    command = [f"--yourai-replay={RECORDING}", *flags]
    return SweepResult(pytester.runpytest_inprocess(*command), pytester.path)


def test_the_file_and_the_summary_have_the_same_text(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    summary = pytester.path / "summary.md"
    summary.write_text("before\n")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    done = replay(pytester, "--yourai-markdown=found.md", f"--yourai-compare={RECORDING}")
    assert done.ret == 0
    done.stdout.fnmatch_lines(["Markdown: found.md"])
    text = (pytester.path / "found.md").read_text(encoding="utf-8")
    assert text.startswith("## LoRA fine-tuning of llama-8b\n\n**Largest: batch=4, ")
    assert "**No regression** (" in text
    text, seal = text[:-1].rsplit("\n", 1)
    assert seal.startswith("<!-- made by pytest-yourai, sha256 of all above: ")
    assert summary.read_text(encoding="utf-8") == f"before\n{text}\n"


def test_a_summary_that_cannot_be_written_fails_nothing(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(pytester.path / "gone" / "summary.md"))
    done = replay(pytester)
    assert done.ret == 0
    done.stdout.fnmatch_lines(["Summary of the job: *summary.md cannot be written: No such file*"])


def test_a_run_without_success_is_reported_as_well(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(pytester.path / "summary.md"))
    done = replay(pytester, "--yourai-max-memory=5")
    assert done.ret == 1
    text = (pytester.path / "summary.md").read_text(encoding="utf-8")
    assert "\n**No configuration fits**\n" in text
    assert text.count("| skipped: predicted over the budget of 5.0 GB") == 12


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("gone/found.md", "--yourai-markdown: *found.md cannot be written: No such file*"),
        (str(RECORDING), "--yourai-markdown: * is read for --yourai-replay: name another file*"),
        ("optimal_config.json", "--yourai-output and --yourai-markdown are one file: name two"),
    ],
)
def test_a_file_that_cannot_be_written_is_refused_before_the_first_trial(
    pytester: pytest.Pytester, path: str, message: str
) -> None:
    done = replay(pytester, f"--yourai-markdown={path}")
    assert done.ret == pytest.ExitCode.USAGE_ERROR
    done.run.stderr.fnmatch_lines([f"*{message}"])
    assert not done.has_profile

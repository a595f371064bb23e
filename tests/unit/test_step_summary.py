from pathlib import Path

from pytest_yourai.report.step_summary import MOST_BYTES, append_to_step_summary


def written(path: Path, text: str) -> str | None:
    return append_to_step_summary(text, {"GITHUB_STEP_SUMMARY": str(path)})


def test_outside_of_a_job_nothing_is_written_or_said() -> None:
    assert append_to_step_summary("text", {}) is None
    assert append_to_step_summary("text", {"GITHUB_STEP_SUMMARY": ""}) is None


def test_it_is_appended_to_what_the_step_has_said(tmp_path: Path) -> None:
    path = tmp_path / "summary.md"
    assert written(path, "one\n") is None
    assert written(path, "two\n") is None
    assert path.read_text() == "one\ntwo\n"


def test_all_that_a_step_appends_stays_under_the_limit(tmp_path: Path) -> None:
    path = tmp_path / "summary.md"
    text = "| row |\n" * 100_000
    assert written(path, text) is None
    assert written(path, text) == "Summary of the job: cut, GitHub shows 1 MiB of a step"
    assert MOST_BYTES - 100 < path.stat().st_size <= MOST_BYTES
    assert path.read_text().endswith("|\n\n**Cut here:** GitHub shows 1 MiB of a step.\n")
    assert written(path, text) == "Summary of the job: cut, GitHub shows 1 MiB of a step"
    assert path.stat().st_size <= MOST_BYTES


def test_a_summary_that_cannot_be_written_is_only_told(tmp_path: Path) -> None:
    said = written(tmp_path / "gone" / "summary.md", "text")
    assert said is not None
    assert said.startswith("Summary of the job: ")
    assert said.endswith("cannot be written: No such file or directory")

from pathlib import Path

from pytest_yourai.report.output_files import MOST_BYTES, append_to_step_summary, step_summary


def test_there_is_none_outside_of_a_job(tmp_path: Path) -> None:
    assert step_summary({}) is None
    assert step_summary({"GITHUB_STEP_SUMMARY": ""}) is None
    assert step_summary({"GITHUB_STEP_SUMMARY": str(tmp_path)}) == tmp_path


def test_it_is_appended_to_what_the_step_has_written(tmp_path: Path) -> None:
    path = tmp_path / "summary.md"
    assert append_to_step_summary(path, "one\n") is None
    assert append_to_step_summary(path, "two\n") is None
    assert path.read_text() == "one\ntwo\n"


def test_all_that_a_step_appends_stays_under_the_limit(tmp_path: Path) -> None:
    path = tmp_path / "summary.md"
    text = "| row |\n" * 100_000
    assert append_to_step_summary(path, text) is None
    assert (
        append_to_step_summary(path, text)
        == "Summary of the job: cut, GitHub shows 1 MiB of a step"
    )
    assert MOST_BYTES - 100 < path.stat().st_size <= MOST_BYTES
    assert path.read_text().endswith("|\n\n**Cut here:** GitHub shows 1 MiB of a step.\n")
    assert (
        append_to_step_summary(path, text)
        == "Summary of the job: cut, GitHub shows 1 MiB of a step"
    )
    assert path.stat().st_size <= MOST_BYTES


def test_a_summary_that_cannot_be_written_is_only_a_warning(tmp_path: Path) -> None:
    said = append_to_step_summary(tmp_path / "gone" / "summary.md", "text")
    assert said is not None
    assert said.startswith("Summary of the job: ")
    assert said.endswith("cannot be written: No such file or directory")

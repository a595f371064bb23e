from __future__ import annotations

from pytest_yourai.report.compile_lines import CompileLog, compiling


def test_elapsed_time_and_limit_are_shown_in_seconds() -> None:
    assert compiling(34.6, 900.0) == "compiling, 35 s of at most 900 s"
    assert compiling(0.2, 1.5) == "compiling, 0 s of at most 1.5 s"


def test_a_log_has_few_lines_of_a_long_compilation_and_none_of_a_short_one() -> None:
    log = CompileLog()
    lines = [(second, log.line(second, 900)) for second in range(900)]
    assert [second for second, line in lines if line] == [30, 60, 120, 240, 480]
    assert lines[60][1] == "compiling, 60 s of at most 900 s"

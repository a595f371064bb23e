from __future__ import annotations

from pytest_yourai.report.compile_lines import CompileLog, compiling


def test_elapsed_time_and_limit_are_shown_as_on_a_clock() -> None:
    assert compiling(34.6, 900.0) == "compiling, 0:34 of at most 15:00"
    assert compiling(3725.2, 7200.0) == "compiling, 1:02:05 of at most 2:00:00"
    assert compiling(62.0, 0.0) == "compiling, 1:02"


def test_a_log_has_few_lines_of_a_long_compilation_and_none_of_a_short_one() -> None:
    log = CompileLog()
    lines = [(second, log.line(second, 900)) for second in range(900)]
    assert [second for second, line in lines if line] == [30, 60, 120, 240, 480]
    assert lines[60][1] == "compiling, 1:00 of at most 15:00"

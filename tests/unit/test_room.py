from __future__ import annotations

from pytest_yourai.report.screen import TerminalSize


def test_a_long_line_goes_on_deeper() -> None:
    assert TerminalSize(20, 10).wrapped("  over budget: choose a smaller-one now") == [
        "  over budget:",
        "    choose a",
        "    smaller-one now",
    ]


def test_what_fits_and_what_goes_into_a_log_stays_as_it_is() -> None:
    assert TerminalSize(5, 10).wrapped("a b c") == ["a b c"]
    assert TerminalSize().wrapped("a " * 200) == ["a " * 200]
    assert TerminalSize(4, 10).wrapped("") == [""]


def test_secrets_are_taken_out_before_they_could_be_parted() -> None:
    secret = "hf_" + "x" * 30
    assert TerminalSize(30, 10).wrapped(f"the token {secret} is no good, alas") == [
        "the token *** is no good, alas"
    ]


def test_a_title_is_as_wide_as_there_is_room() -> None:
    assert [len(TerminalSize(columns, 24).rule) for columns in (40, 100)] == [40, 60]
    assert len(TerminalSize().rule) == 60


def test_some_rows_are_shown_on_the_lowest_terminal() -> None:
    assert TerminalSize(80, 24).rows_beside(10) == 14
    assert TerminalSize(80, 10).rows_beside(30) == 5
    assert TerminalSize(80, 10, is_verbose=True).rows_beside(30) is None

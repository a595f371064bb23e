"""Where a running trial is shown, and how much room the end has."""

from __future__ import annotations

import sys

import pytest

from pytest_yourai.plan.flags import INVOCATION_VARIABLE
from pytest_yourai.plugin.terminal import Terminal
from pytest_yourai.report.screen import TerminalSize

from support.screens import Written


@pytest.fixture(autouse=True)
def _terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CI", "BUILD_NUMBER"):
        monkeypatch.delenv(name, raising=False)
    for name, value in (("TERM", "xterm"), ("COLUMNS", "50"), ("LINES", "20")):
        monkeypatch.setenv(name, value)


class Looked(Written):
    def isatty(self) -> bool:
        return True


def room(
    pytester: pytest.Pytester,
    monkeypatch: pytest.MonkeyPatch,
    *flags: str,
    is_terminal: bool = True,
) -> TerminalSize:
    config = pytester.parseconfigure(*flags)
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", Looked(50) if is_terminal else Written(50))
        return Terminal(config).size


def test_a_terminal_has_columns_and_rows(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert room(pytester, monkeypatch) == TerminalSize(50, 20)
    assert room(pytester, monkeypatch, "-v") == TerminalSize(50, 20, is_verbose=True)


@pytest.mark.parametrize(
    ("name", "value"), [("CI", "true"), ("BUILD_NUMBER", "7"), ("TERM", "dumb")]
)
def test_what_is_kept_as_a_log_has_none(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    assert room(pytester, monkeypatch) == TerminalSize()


def test_neither_has_what_is_not_a_terminal(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert room(pytester, monkeypatch, is_terminal=False) == TerminalSize()
    assert room(pytester, monkeypatch, "-p", "no:terminal") == TerminalSize()


def test_who_came_by_the_command_reads_its_flags(
    pytester: pytest.Pytester,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for called, flag in ((None, "--yourai-force"), ("[]", "--force")):
        if called is not None:
            monkeypatch.setenv(INVOCATION_VARIABLE, called)
        config = pytester.parseconfigure("--yourai-model=tiny")
        Terminal(config).print_lines("add --yourai-force to run it")
        assert f"add {flag} to run it" in capsys.readouterr().out

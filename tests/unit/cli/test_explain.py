"""`yourai explain`: from an argument or a pipe, with an exit status that scripts can use."""

from __future__ import annotations

import io
import sys

import pytest

from pytest_yourai.cli.main import main


def piped(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))


@pytest.mark.parametrize("arguments", [["paging"], ["over", "budget"], ["train loss nan"]])
def test_the_message_is_explained(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> None:
    assert main(["explain", *arguments]) == 0
    printed = capsys.readouterr()
    assert "What to do: " in printed.out
    assert printed.err == ""


@pytest.mark.parametrize("arguments", [[], ["-"]])
def test_a_log_is_read_from_a_pipe(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    piped(monkeypatch, "step 1\nOSError: [Errno 28] No space left on device\n")
    assert main(["explain", *arguments]) == 0
    assert "set TMPDIR" in " ".join(capsys.readouterr().out.split())


def test_nothing_near_is_status_1(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "banana bread recipe"]) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("yourai explain: nothing in docs/troubleshooting.md is like this")


def test_an_empty_pipe_is_a_mistake(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    piped(monkeypatch, " \n")
    assert main(["explain"]) == 2
    assert capsys.readouterr().err.startswith("yourai explain: stdin was empty: name a message")


def test_without_a_message_and_a_pipe_it_asks_for_one(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    assert main(["explain"]) == 2
    assert "name a message, in quotes" in capsys.readouterr().err

"""A sweep on a terminal: what is seen meanwhile, and that nothing of it stays."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path

import pytest

from support.screens import Seen, Terminal, run_in_terminal

MATRIX = "batch_size: [1, 4]\nlora_rank: [4]\nlora_layers: [2]\n"
FLAGS = ("--yourai-model=tiny", "--yourai-matrix=m.yaml", "--yourai-steps=4")
OURS = re.compile(rb"(\x1bD)+\x1b\[\dA|\x1b7.*?\x1b8", re.DOTALL)
"""Making room, and what is written between saving the cursor and bringing it back."""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    # Long enough to be seen.
    monkeypatch.setenv("YOURAI_TEST_STEP_S", "0.15")
    (tmp_path / "m.yaml").write_text(MATRIX)
    (tmp_path / "test_mine.py").write_text(
        "def test_mine(trial):\n    print('said by a test', end='')\n"
    )
    return tmp_path


def sweep(folder: Path, columns: int, *arguments: str, **environment: str) -> Seen:
    return run_in_terminal([*FLAGS, *arguments], folder, columns, environment)


def without_ours(seen: Seen) -> list[str]:
    """The lines as they are without the drawings below them."""
    terminal = Terminal(seen.terminal.columns)
    terminal.feed(OURS.sub(b"", seen.written))
    return terminal.lines


@pytest.mark.parametrize("columns", [100, 40])
def test_the_trial_that_runs_is_seen_and_leaves_nothing(folder: Path, columns: int) -> None:
    seen = sweep(folder, columns, "--yourai-soak=0.03")
    assert seen.status == 0
    text = "\n".join(seen.looks)
    assert re.search(
        r"\[1/2\] batch=1, rank=4, layers=2( ━.*)?\n([⠀-⣿] )?(starting|loading|comp|warm)", text
    )
    assert re.search(r"\[2/2\] batch=4, .*(\n.*)? \d+ s left", text)
    assert re.search(r"\nmeasuring, step \d of 4.*\nactive [\d.]+ MB, peak [\d.]+ MB .*0%", text)
    assert re.search(r"\nSoak: batch=4, .*\ntraining, step \d+", text)
    assert all(len(line) <= columns for line in text.splitlines())
    assert seen.terminal.lines == without_ours(seen)
    assert "active" not in "\n".join(seen.terminal.lines)
    assert not seen.terminal.screen.cursor.hidden


@pytest.mark.parametrize(
    ("arguments", "environment", "has_colors"),
    [
        (("-v",), {}, True),
        (("-s", "test_mine.py"), {"NO_COLOR": "1"}, False),
        (("-q", "--color=no"), {}, False),
    ],
)
def test_no_word_of_pytests_own_is_lost(
    folder: Path, arguments: tuple[str, ...], environment: dict[str, str], has_colors: bool
) -> None:
    # With -v the words before PASSED fill a row.
    seen = sweep(folder, 71, *arguments, **environment)
    assert "active" in "".join(seen.looks)
    assert seen.terminal.lines == without_ours(seen)
    assert seen.has_colors is has_colors
    said = "\n".join(seen.terminal.lines)
    assert said.count("said by a test") == (2 if "-s" in arguments else 0)
    assert said.count("PASSED") == (2 if "-v" in arguments else 0)


@pytest.mark.parametrize(
    ("arguments", "environment"),
    [(("-p", "no:terminal"), {}), (("-n1",), {}), ((), {"TERM": "dumb"})],
)
def test_where_nobody_looks_nothing_moves(
    folder: Path, arguments: tuple[str, ...], environment: dict[str, str]
) -> None:
    seen = sweep(folder, 100, "-kbatch1-", *arguments, **environment, YOURAI_TEST_STEP_S="0.01")
    assert seen.status == 0
    assert b"\x1b7" not in seen.written
    assert b"peak" not in seen.written
    assert environment.get("TERM") != "dumb" or b"\x1b" not in seen.written


def test_an_interruption_leaves_nothing_on_the_screen(folder: Path) -> None:
    sent: list[int] = []

    def interrupt(look: str, pid: int) -> None:
        if "[2/2]" in look and "active" in look and not sent:
            sent.append(pid)
            os.kill(pid, signal.SIGINT)

    flags = [*FLAGS[:2], "--yourai-steps=40"]
    seen = run_in_terminal(flags, folder, 100, on_look=interrupt)
    assert seen.status == pytest.ExitCode.INTERRUPTED
    assert "active" not in "\n".join(seen.terminal.lines)
    assert "KeyboardInterrupt" in "\n".join(seen.terminal.lines)
    assert "To go on: pytest --yourai-model=tiny" in "\n".join(seen.terminal.lines)


def test_a_timeout_leaves_nothing_on_the_screen(folder: Path) -> None:
    flags = [*FLAGS[:2], "--yourai-steps=900", "-kbatch4", "--yourai-timeout=3"]
    seen = run_in_terminal(flags, folder, 100)
    assert "active" in "".join(seen.looks)
    assert "active" not in "\n".join(seen.terminal.lines)
    assert "  timeout: give it more with --yourai-timeout" in "\n".join(seen.terminal.lines)


def test_a_soak_that_is_interrupted_is_not_shown_as_done(folder: Path) -> None:
    sent: list[int] = []

    def interrupt(look: str, pid: int) -> None:
        if "training, step" in look and not sent:
            sent.append(pid)
            os.kill(pid, signal.SIGINT)

    flags = [*FLAGS, "-kbatch1 or soak", "--yourai-soak=5"]
    seen = run_in_terminal(flags, folder, 100, on_look=interrupt)
    assert seen.status == pytest.ExitCode.INTERRUPTED
    said = "\n".join(seen.terminal.lines)
    broken_off = "Incomplete: a soak was broken off\n"
    assert said.partition(broken_off)[2].splitlines()[0].endswith("est configuration that fits")
    assert "To go on: pytest --yourai-model=tiny" in said
    assert "Next" not in said

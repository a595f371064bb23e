from __future__ import annotations

import os
import shutil
import subprocess

import pytest

from pytest_yourai.core.sanitize import screen_line
from pytest_yourai.core.shell import command_line, pytest_line

HOSTILE = [
    "plain",
    "two words",
    "it's",
    "a\\b",
    "",
    "a\n::error::x",
    "a::error::b",
    "##[error]x",
    "\x1b]0;title\x07",
    "\x1b[31mred",
    "\u202eright to left",
    "tab\tand\rreturn",
    "$(touch was-run) `touch was-run` $HOME",
    "é\u0085",
    "-o",
    os.fsdecode(b"not \xff UTF-8"),
]


@pytest.mark.parametrize("shell", ["bash", "zsh", "ksh"])
@pytest.mark.parametrize("is_ascii", [False, True])
def test_a_shell_reads_every_word_as_it_is(shell: str, is_ascii: bool) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    line = command_line("printf", r"%s\0", *HOSTILE, is_ascii=is_ascii)
    assert line.isprintable()
    assert not is_ascii or line.isascii()
    printed = subprocess.run(
        [shell, "-c", screen_line(line)], capture_output=True, check=True, env={"LC_ALL": "C"}
    ).stdout
    assert [os.fsdecode(each) for each in printed.split(b"\0")[:-1]] == HOSTILE


def test_what_is_fit_is_quoted_as_usual() -> None:
    assert pytest_line("a b", "tests/a.py::TestB::test_c") == (
        "pytest 'a b' tests/a.py::TestB::test_c"
    )


def test_values_of_flags_that_mean_secrets_are_left_out() -> None:
    line = pytest_line("--token", "two words", "--hf-token=0123abcd", "--max-tokens", "100")
    assert line == "pytest --token *** '--hf-token=***' --max-tokens 100"

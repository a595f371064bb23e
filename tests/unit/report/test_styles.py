"""Colour of lines on a terminal, and nowhere else."""

from __future__ import annotations

import io
import json

import pytest

from pytest_yourai.report.safe_stream import print_lines
from pytest_yourai.report.styles import Style, StyledLine, like, painted

PASSED = StyledLine("[1/2] batch=1 ... ✓ 6.9 GB", Style.GOOD, "✓")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")


def printed(stream: io.StringIO, *lines: str) -> str:
    print_lines(stream, *lines)
    return stream.getvalue()


def test_the_word_or_the_line_is_painted() -> None:
    answer = StyledLine("Recommended: tiny", Style.ANSWER)
    text = printed(Terminal(), PASSED, answer, "plain", StyledLine("", Style.FAINT))
    assert text == (
        "[1/2] batch=1 ... \x1b[32m✓\x1b[0m 6.9 GB\n\x1b[1mRecommended: tiny\x1b[0m\nplain\n\n"
    )


@pytest.mark.parametrize(
    ("stream", "name", "value", "is_colored"),
    [
        (Terminal, "TERM", "xterm", True),
        (Terminal, "NO_COLOR", "1", False),
        (Terminal, "TERM", "dumb", False),
        (io.StringIO, "TERM", "xterm", False),
        (io.StringIO, "FORCE_COLOR", "1", True),
    ],
)
def test_only_who_looks_sees_colours(
    monkeypatch: pytest.MonkeyPatch,
    stream: type[io.StringIO],
    name: str,
    value: str,
    is_colored: bool,
) -> None:
    monkeypatch.setenv(name, value)
    assert ("\x1b" in printed(stream(), PASSED)) is is_colored


def test_to_others_a_styled_line_is_its_text() -> None:
    assert PASSED == "[1/2] batch=1 ... ✓ 6.9 GB"
    assert json.dumps({"line": PASSED}, ensure_ascii=False) == f'{{"line": "{PASSED}"}}'
    assert painted("plain", "cut") == "cut"


def test_parts_of_a_line_keep_its_style() -> None:
    part = like(PASSED, "  ✓ 6.9 GB")
    assert painted(part, part) == "  \x1b[32m✓\x1b[0m 6.9 GB"
    assert type(like("plain", "part")) is str

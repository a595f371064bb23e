import json
import re
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pytest_yourai.core.sanitize import (
    all_printable,
    is_plain_json,
    printable,
    screen_line,
    screen_text,
    without_controls,
)


def test_nothing_that_a_terminal_obeys_is_left() -> None:
    shown = printable("a\x1b[31mred\x07\nb\tc\u202ed")
    assert shown == "ared? b c?d"
    assert shown.isprintable()


def test_what_can_be_shown_stays_as_it_is() -> None:
    text = "Größe × 漢字 <b>&amp;</b> 🙂"
    assert printable(text) == text


def test_what_nobody_can_read_is_cut() -> None:
    assert printable("x" * 3000) == "x" * 2000 + "…"


def test_every_text_of_a_document_is_made_printable() -> None:
    found = all_printable({"a\x00": ["b\x1b", 1, None, {"c": "\r"}], "d": True})
    assert found == {"a?": ["b?", 1, None, {"c": " "}], "d": True}


_TEXTS = st.text('a"\\\n\x1b\u00a0\u2028\u202eé', max_size=4) | st.just("x" * 2001)

_VALUES = st.recursive(
    st.none() | st.integers() | _TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_TEXTS, inner, max_size=3),
    max_leaves=6,
)


@pytest.mark.repeats
@given(_VALUES, st.booleans(), st.sampled_from([None, 2, "\t", "\u00a0"]))
@example("x" * 2000, True, None)
def test_what_is_plainly_printable_needs_no_change(
    value: Any, is_escaped: bool, indent: int | str | None
) -> None:
    text = json.dumps(value, ensure_ascii=is_escaped, indent=indent)
    if is_plain_json(text):
        assert all_printable(value) == value
    plain = json.dumps({"a b": ["x" * 2000, 1.5, None]}, indent=2)
    assert is_plain_json(plain)


@pytest.mark.parametrize(
    "codes",
    [
        "\x1b[1;31m",
        "\x1b[?25l",
        "\x9b2J",
        "\x1b]0;a title\x07",
        "\x1b]52;c;Y2xpcGJvYXJk\x1b\\",
        "\x9d0;a title\x9c",
        "\x1bPdevice\x1b\\",
        "\x1b_application\x1b\\",
        "\x1bc",
        "\x1b(0",
        "\x1b7",
    ],
)
def test_sequences_of_a_terminal_leave_nothing(codes: str) -> None:
    for made in (printable, screen_line, screen_text, without_controls):
        assert made(f"a{codes}b") == "ab"


def test_the_text_of_a_link_stays() -> None:
    assert screen_line("\x1b]8;;https://example.org\x1b\\text\x1b]8;;\x1b\\") == "text"


def test_a_sequence_without_an_end_ends_with_its_line() -> None:
    assert without_controls("a\x1b]0;title\nb\x1b[\nc") == "a\nb\nc"


def test_lines_stay_lines() -> None:
    assert without_controls("a\r\nb\rc\n\td\x00\u202e") == "a\nb\nc\n\td??"
    assert screen_line("a\r\nb\u2028c\x85d") == "a  b c d"


@pytest.mark.parametrize(
    "text",
    [
        "::error::x",
        "  ::warning file=a,line=1::x",
        "a ::stop-commands::x",
        "b::add-mask::x",
        "a\n::error::x",
        "::ERROR::x",
        "\u2028::group::x",
        "\x1b[31m::error::x",
        "##[error]x",
        "a##[add-mask]x",
        "a ##vso[task.setvariable variable=x]y",
        "##teamcity[message]",
        "###[error]",
    ],
)
def test_no_line_is_a_command_to_a_ci_service(text: str) -> None:
    for shown in (screen_line(text), screen_text(text)):
        assert not re.search(r"(^|\s)::[a-zA-Z]|::[\w-]+::|##\w*\[", shown)


def test_ordinary_text_has_no_commands() -> None:
    for text in ("tests/a.py::TestB::test_c[d]", "[::1]:80 ::1", "# [1] ## heading", "a: :b"):
        assert screen_line(text) == text

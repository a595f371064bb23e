"""Lines below the cursor, on an emulated terminal."""

from __future__ import annotations

import os

import pytest
from rich.console import Group
from rich.text import Text

from pytest_yourai.report.live_area import LiveArea

from support.screens import Written

COLUMNS, ROWS = 20, 8
PICTURE = Group(Text("first", style="bold red"), Text("second"))


@pytest.fixture(autouse=True)
def _size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(COLUMNS))
    monkeypatch.setenv("LINES", str(ROWS))
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)


@pytest.fixture
def stream() -> Written:
    return Written(COLUMNS, ROWS)


def area_on(stream: Written, *, has_color: bool = True, width: int = 0) -> LiveArea:
    return LiveArea(stream, has_color=has_color, line_width=lambda: width)


@pytest.mark.parametrize("lines_before", [0, 1, ROWS - 1, 3 * ROWS])
@pytest.mark.parametrize("partial", ["", "an item ", "an item of " + "x" * COLUMNS])
def test_what_comes_afterwards_stands_where_it_would_without_it(
    stream: Written, lines_before: int, partial: str
) -> None:
    before = "".join(f"line {number}\n" for number in range(lines_before)) + partial
    stream.write(before)
    area = area_on(stream, width=len(partial))
    for _ in range(3):
        area.draw(PICTURE)
        assert stream.lines[-2:] == ["first", "second"]
    area.draw(Text("shorter"))
    assert stream.lines[-1] == "shorter"
    area.draw(Group(*map(Text, "abcd")))
    assert stream.lines[-4:] == list("abcd")
    area.erase()
    stream.write("PASSED\nnext\n")
    plain = Written(COLUMNS, ROWS)
    plain.write(f"{before}PASSED\nnext\n")
    assert stream.lines == plain.lines


def test_a_row_that_is_full_is_not_written_over(stream: Written) -> None:
    stream.write("y" * COLUMNS)
    area = area_on(stream, width=COLUMNS)
    area.draw(PICTURE)
    area.erase()
    stream.write("PASSED\n")
    assert stream.lines == ["y" * COLUMNS, "PASSED"]


def test_what_breaks_in_begins_at_the_cursor(stream: Written) -> None:
    stream.write("an item ")
    area = area_on(stream, width=8)
    area.draw(PICTURE)
    stream.write("^C")
    area.erase()
    assert stream.lines == ["an item ^C"]
    assert not stream.terminal.screen.cursor.hidden


def test_without_color_there_is_none(stream: Written) -> None:
    area_on(stream, has_color=False).draw(PICTURE)
    assert "[0m" not in stream.getvalue()
    colored = Written(COLUMNS, ROWS)
    area_on(colored).draw(PICTURE)
    assert "[0m" in colored.getvalue()


def test_it_leaves_room_for_what_it_shows(stream: Written, monkeypatch: pytest.MonkeyPatch) -> None:
    stream.write("an item ")
    area = area_on(stream, width=8)
    area.draw(Group(*map(Text, "abcdefghijkl")))
    assert stream.lines == ["an item", *"abcdef"]
    monkeypatch.setenv("LINES", "5")
    area.draw(PICTURE)
    assert stream.lines == ["an item"]


def test_where_nobody_reads_any_more_nothing_happens() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as closed:
        area = LiveArea(closed, has_color=True, line_width=lambda: 0)
        area.draw(PICTURE)
        area.erase()


def test_a_terminal_that_became_lower_is_not_scrolled_by_each_drawing(stream: Written) -> None:
    stream.write("an item ")
    area = area_on(stream, width=8)
    area.draw(PICTURE)
    # What a terminal does then: its last row is the cursor's, and what was below it is gone.
    stream.write("\r\x1b[J" + "\n" * (ROWS - 1) + "an item ")
    for _ in range(3):
        area.draw(PICTURE)
        assert stream.lines[-3:] == ["an item", "first", "second"]
    assert stream.lines.count("first") == 1
    stream.write(f"\x1b[J\x1b[{ROWS}B")
    area.erase()
    stream.write("PASSED\n")
    assert "first" not in stream.lines
    assert stream.lines[-1] == "        PASSED"

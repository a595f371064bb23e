"""What a terminal shows of a program's output, and GitHub of Markdown."""

from __future__ import annotations

import fcntl
import html.parser
import io
import os
import pty
import re
import select
import struct
import termios
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cmarkgfm
import pyte
from cmarkgfm.cmark import Options

from support.processes import started_pytest

ROWS = 30
_MOST_LINES = 2000
_LOOKS_EVERY_S = 0.1
_END_WAIT_S = 120.0
_COLORS = re.compile(rb"\x1b\[[0-9;]*m")
_LEFT_OUT = ("CI", "BUILD_NUMBER", "NO_COLOR", "FORCE_COLOR", "PY_COLORS", "COLUMNS", "LINES")
"""What would say something else of the terminal than it is."""


class Terminal:
    """A screen with what has scrolled off it."""

    def __init__(self, columns: int, rows: int = ROWS) -> None:
        self.columns = columns
        self.screen = pyte.HistoryScreen(columns, rows, history=_MOST_LINES)
        self._stream = pyte.ByteStream(self.screen)

    def feed(self, written: bytes) -> None:
        self._stream.feed(written)

    @property
    def lines(self) -> list[str]:
        """All of it, without the empty lines at the end."""
        scrolled = [
            "".join(line[column].data for column in range(self.columns))
            for line in self.screen.history.top
        ]
        text = "\n".join(line.rstrip() for line in [*scrolled, *self.screen.display])
        return text.rstrip().split("\n")


class Written(io.StringIO):
    """The end that a program in this process writes on."""

    def __init__(self, columns: int, rows: int = ROWS) -> None:
        super().__init__()
        self.terminal = Terminal(columns, rows)

    def write(self, text: str) -> int:
        # As the kernel does it: a line feed is a carriage return too.
        self.terminal.feed(text.replace("\n", "\r\n").encode())
        return super().write(text)

    @property
    def lines(self) -> list[str]:
        return self.terminal.lines


@dataclass
class Seen:
    """What a program wrote: `looks` has the screen as it was now and then, as one text each."""

    terminal: Terminal
    written: bytes = b""
    looks: list[str] = field(default_factory=list)
    status: int = 0

    @property
    def has_colors(self) -> bool:
        return _COLORS.search(self.written) is not None


def run_in_terminal(
    arguments: Sequence[str],
    folder: Path,
    columns: int,
    environment: Mapping[str, str] | None = None,
    on_look: Callable[[str, int], None] | None = None,
) -> Seen:
    """Run `python -m pytest` with `arguments`; `on_look` gets each look, and the process's id."""
    inherited = {name: value for name, value in os.environ.items() if name not in _LEFT_OUT}
    variables = {**inherited, "TERM": "xterm-256color", **(environment or {})}
    own_end, its_end = pty.openpty()
    fcntl.ioctl(its_end, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, columns, 0, 0))
    seen = Seen(Terminal(columns))
    streams = (its_end, its_end, its_end)
    try:
        with started_pytest(arguments, folder, variables, streams) as process:
            os.close(its_end)
            _watch(seen, own_end, process.pid, on_look)
            seen.status = process.wait(_END_WAIT_S)
    finally:
        os.close(own_end)
    return seen


def _watch(
    seen: Seen, terminal_fd: int, pid: int, on_look: Callable[[str, int], None] | None
) -> None:
    looked_at = 0.0
    while True:
        if select.select([terminal_fd], [], [], _LOOKS_EVERY_S)[0]:
            try:
                data = os.read(terminal_fd, 1 << 16)
            except OSError:  # so Linux says that nobody has it open any more
                return
            if not data:
                return
            seen.written += data
            seen.terminal.feed(data)
        if time.monotonic() >= looked_at + _LOOKS_EVERY_S:
            looked_at = time.monotonic()
            seen.looks.append("\n".join(seen.terminal.lines))
            if on_look is not None:
                on_look(seen.looks[-1], pid)


INVISIBLE = "\u200b"


class Rendered(html.parser.HTMLParser):
    """`tags` are all that came of `markdown`; `cells` the texts of its tables, row by row."""

    def __init__(self, markdown: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.cells: list[list[str]] = []
        self.text = ""
        self._is_in_cell = False
        # Without cmark's own filter for tags: ours must do.
        self.feed(
            cmarkgfm.markdown_to_html_with_extensions(
                markdown,
                options=Options.CMARK_OPT_UNSAFE,
                extensions=["table", "autolink", "strikethrough", "tasklist"],
            )
        )
        self.close()

    def handle_starttag(self, tag: str, _attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag == "tr":
            self.cells.append([])
        if tag in ("td", "th"):
            self.cells[-1].append("")
            self._is_in_cell = True

    def handle_endtag(self, tag: str) -> None:
        if tag in ("td", "th"):
            self._is_in_cell = False

    def handle_comment(self, _data: str) -> None:
        self.tags.append("comment")

    def handle_data(self, data: str) -> None:
        shown = data.replace(INVISIBLE, "")
        self.text += shown
        if self._is_in_cell:
            self.cells[-1][-1] += shown

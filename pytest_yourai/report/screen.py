"""The size of the terminal, and lines that fit into it."""

from __future__ import annotations

import os
import textwrap
from dataclasses import dataclass
from typing import IO

from rich.console import RenderableType
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from pytest_yourai.core.sanitize import screen_line
from pytest_yourai.core.units import gigabytes

_RULE_COLUMNS = 60

_ROWS_OF_A_LOG = 40

_FEWEST_ROWS = 5


@dataclass(frozen=True, slots=True)
class TerminalSize:
    """Size of the terminal; columns and rows are None if lines go to a log.

    With `is_verbose` nothing is left out.
    """

    columns: int | None = None
    rows: int | None = None
    is_verbose: bool = False

    @property
    def rule(self) -> str:
        """A line above and below a title."""
        return "━" * min(_RULE_COLUMNS, self.columns or _RULE_COLUMNS)

    def rows_beside(self, other_lines: int) -> int | None:
        """How many rows of a table fit beside `other_lines`; None for all."""
        if self.is_verbose:
            return None
        if self.rows is None:
            return _ROWS_OF_A_LOG
        return max(_FEWEST_ROWS, self.rows - other_lines)

    def wrapped(self, line: str) -> list[str]:
        """`line`, fit for a screen, wrapped between words; lines after the first are indented."""
        line = screen_line(line)
        if self.columns is None or len(line) <= self.columns:
            return [line]
        indent = " " * (len(line) - len(line.lstrip()) + 2)
        return textwrap.wrap(
            line,
            self.columns,
            subsequent_indent=indent,
            break_long_words=False,
            break_on_hyphens=False,
        )


DRAWN_EVERY_S = 0.25

WIDE_COLUMNS = 60
"""Terminals of at least this width have room for the memory limit."""


def is_terminal(stream: IO[str]) -> bool:
    """True for a terminal that can move its cursor."""
    return stream.isatty() and os.environ.get("TERM") not in ("dumb", "unknown")


_FRAMES = Spinner("dots").frames


def bar(total: float, completed: float) -> ProgressBar:
    """A bar in a colour that is no alarm, as wide as there is room."""
    return ProgressBar(total, completed, complete_style="cyan", finished_style="cyan")


def spinner(elapsed_s: float) -> str:
    """A sign that turns with each drawing."""
    return _FRAMES[int(elapsed_s / DRAWN_EVERY_S) % len(_FRAMES)]


def status_row(left: str, middle: RenderableType, right: str) -> Table:
    """One line as wide as the terminal; `middle` takes the remaining columns."""
    table = Table.grid(padding=(0, 1), expand=True)
    table.add_column(no_wrap=True)
    table.add_column(ratio=1)
    table.add_column(no_wrap=True, justify="right")
    table.add_row(one_line(left), middle, one_line(right))
    return table


def one_line(text: str) -> Text:
    """`text`, never as markup, cut at the edge of the terminal."""
    return Text(screen_line(text), no_wrap=True, overflow="ellipsis")


def memory_row(held: str, peak_bytes: int, limit_bytes: int, columns: int) -> Table:
    """The memory in use as text, and as a bar against the limit."""
    share = f"{peak_bytes / limit_bytes:.0%}"
    right = f"{share} of {gigabytes(limit_bytes)}" if columns >= WIDE_COLUMNS else share
    return status_row(held, bar(limit_bytes, peak_bytes), right)

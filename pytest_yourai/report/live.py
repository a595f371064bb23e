"""What displays on a terminal have in common: where there is one, how often it is drawn, rows."""

from __future__ import annotations

import os
from typing import IO

from rich.console import RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from pytest_yourai.units import gigabytes

DRAWN_EVERY_S = 0.25

WIDE_COLUMNS = 60
"""From here on there is room for the memory limit."""


def is_terminal(stream: IO[str]) -> bool:
    """Whether somebody looks at it, on a terminal that can move its cursor."""
    return stream.isatty() and os.environ.get("TERM") not in ("dumb", "unknown")


def row(left: str, middle: RenderableType, right: str) -> Table:
    """One line as wide as the terminal; `middle` takes what room there is."""
    table = Table.grid(padding=(0, 1), expand=True)
    table.add_column(no_wrap=True)
    table.add_column(ratio=1)
    table.add_column(no_wrap=True, justify="right")
    table.add_row(one_line(left), middle, one_line(right))
    return table


def one_line(text: str) -> Text:
    """Shown as it is, never as markup, and cut where the terminal ends."""
    return Text(text, no_wrap=True, overflow="ellipsis")


def memory_row(held: str, peak_bytes: int, limit_bytes: int, columns: int) -> Table:
    """What is held in words, and as a bar against the limit."""
    share = f"{peak_bytes / limit_bytes:.0%}"
    told = f"{share} of {gigabytes(limit_bytes)}" if columns >= WIDE_COLUMNS else share
    return row(held, ProgressBar(total=limit_bytes, completed=peak_bytes), told)

"""A few lines below the cursor of a terminal that others write to.

The cursor does not move between two drawings: the next output, a word at the end of pytest's line
or a traceback, begins where it would without these lines.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from typing import IO

from rich.console import Console, RenderableType

from pytest_yourai.report.safe_stream import safe_stream

_LEAST_ROWS = 6
"""On a lower terminal the lines would push out the output that they belong to."""

_SAVE_CURSOR, _RESTORE_CURSOR = "\x1b7", "\x1b8"

_ROW_DOWN, _ROWS_UP = "\x1bD", "\x1b[{}A"
"""The first scrolls if necessary. Both keep the column."""

_ERASE_REST_OF_ROW, _ERASE_BELOW = "\x1b[K", "\x1b[J"


class LiveArea:
    """Lines on the terminal `stream`, which has no other writer while they are drawn.

    Without `has_color` nothing is colored or bold. `line_width` returns how many columns of the
    cursor's line are in use. Errors of a closed stream are ignored.
    """

    def __init__(self, stream: IO[str], *, has_color: bool, line_width: Callable[[], int]) -> None:
        self._stream = safe_stream(stream)
        self._line_width = line_width
        self._height = 0
        self._console = Console(
            file=self._stream,
            force_terminal=True,
            color_system="auto" if has_color else None,
            highlight=False,
            markup=False,
            emoji=False,
        )

    @property
    def columns(self) -> int:
        """Columns of a drawing: all but the last one, in which terminals differ."""
        return self._size()[0] - 1

    def draw(self, picture: RenderableType) -> None:
        """Replace the last drawing by `picture`."""
        columns, rows = self._size()
        if rows < _LEAST_ROWS:
            self.erase()
            return
        self._console.width = columns - 1
        with self._console.capture() as captured:
            self._console.print(picture)
        lines = captured.get().splitlines()[: rows - 2]
        drawn = "".join(f"\r\n{line}{_ERASE_REST_OF_ROW}" for line in lines)
        width = 0 if self._height else self._line_width()
        # The cursor stays on a full row until more is written.
        is_full = width > 0 and width % columns == 0
        self._height = len(lines)
        # Room is made each time: the terminal may have become lower.
        room = "\r\n" * is_full + _rows_below(self._height)
        self._write(room + _below(drawn + _ERASE_BELOW))

    def erase(self) -> None:
        """Remove the drawing."""
        if self._height:
            self._height = 0
            self._write(_rows_below(1) + _below(f"\r\n{_ERASE_BELOW}"))

    def _write(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()

    def _size(self) -> os.terminal_size:
        """Columns and rows of the terminal itself, before those of the environment."""
        try:
            size = os.get_terminal_size(self._stream.fileno())
        except (OSError, ValueError):
            size = os.terminal_size((0, 0))
        return size if all(size) else shutil.get_terminal_size()


def _rows_below(height: int) -> str:
    return _ROW_DOWN * height + _ROWS_UP.format(height)


def _below(text: str) -> str:
    return f"{_SAVE_CURSOR}{text}{_RESTORE_CURSOR}"

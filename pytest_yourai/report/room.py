"""How much there is to print on, and text that fits into it."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass

from pytest_yourai.redaction import redactor

_RULE_COLUMNS = 60
_ROWS_OF_A_LOG = 40
_FEWEST_ROWS = 5


@dataclass(frozen=True, slots=True)
class Room:
    """Of a terminal; columns and rows are None where lines go into a log.

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
        """How many rows of a table are to be shown; None for all."""
        if self.is_verbose:
            return None
        if self.rows is None:
            return _ROWS_OF_A_LOG
        return max(_FEWEST_ROWS, self.rows - other_lines)

    def wrapped(self, line: str) -> list[str]:
        """`line` without secrets, between words where it is too long; deeper from its second on."""
        line = redactor()(line)
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

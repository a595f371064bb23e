"""Cells as aligned lines of text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence


def text_table(
    rows: Sequence[Sequence[str]], is_number: Sequence[bool], gap: str = "  "
) -> Iterator[str]:
    """A line for each of `rows`, all as wide as the widest; numbers stand at the right."""
    widths = [max(map(len, cells)) for cells in zip(*rows, strict=True)]
    for cells in rows:
        parts = (
            f"{cell:>{width}}" if right else f"{cell:<{width}}"
            for cell, width, right in zip(cells, widths, is_number, strict=True)
        )
        yield gap.join(parts).rstrip()

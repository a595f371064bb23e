"""Long text shown in part: that it was cut can be seen."""

from __future__ import annotations


def excerpt(text: str, most: int) -> str:
    """`text`, or its first `most` characters and an ellipsis."""
    return text if len(text) <= most else f"{text[:most]}…"

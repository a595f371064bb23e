"""Pieces of GitHub's Markdown: text that stays text, tables, and what fits under a limit."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from pytest_yourai.core.sanitize import printable

_INVISIBLE = "&#8203;"
"""A space without width: it keeps GitHub from seeing names, numbers and addresses."""

_SPECIAL = re.compile(r"[\\`*\[\]<~&]|(?<![^\W_])_|_(?![^\W_])")
"""An underscore between letters emphasizes nothing."""

_REFERENCE = re.compile(
    r"@(?=\S)"  # people, and e-mail addresses, whose host may begin with a dot
    r"|#(?=\w)"  # issues
    r"|:(?=//|[\w+-]+:)"  # addresses, emoji
    r"|(?<=www)(?=\.)"
    r"|(?<=\bGH)-(?=\d)",  # issues
    re.IGNORECASE,
)


def escaped(text: str) -> str:
    """`text` so that GitHub shows it as it is, within a line or in a table.

    No tag, link, picture, mention, reference, emoji, formula or comment comes of it.
    """
    shown = " ".join(printable(text).split())
    parted = _REFERENCE.sub(lambda match: f"{match.group()}\0", shown)
    marked = _SPECIAL.sub(lambda match: f"\\{match.group()}", parted)
    # GitHub's own advice for a dollar sign that begins no formula.
    quoted = marked.replace("|", "&#124;").replace("$", "<span>$</span>")
    return quoted.replace("\0", _INVISIBLE)


def table(
    headings: Sequence[str], rows: Iterable[Sequence[str]], is_number: Sequence[bool]
) -> Iterator[str]:
    """Lines of a table; the cells of `rows` are Markdown already."""
    yield f"| {' | '.join(headings)} |"
    yield f"|{'|'.join('--:' if each else '---' for each in is_number)}|"
    for row in rows:
        yield f"| {' | '.join(row)} |"


def cut(text: str, most_bytes: int, why: str) -> str:
    """The first whole lines of `text` within `most_bytes` of UTF-8, and a note with the reason.

    Empty if not even the note fits.
    """
    if len(text.encode()) <= most_bytes:
        return text
    note = f"\n**Cut here:** {why}\n"
    room_bytes = most_bytes - len(note.encode())
    if room_bytes < 0:
        return ""
    whole = text.encode()[:room_bytes].rpartition(b"\n")
    return (whole[0] + whole[1]).decode() + note

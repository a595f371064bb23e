"""The commands of the documentation, and whether an output has the shape of what is shown."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]

PAGES = [
    ROOT / "README.md",
    *(ROOT / "docs" / f"{name}.md" for name in ("start", "troubleshooting", "verified")),
    *sorted((ROOT / "docs" / "guides").glob("*.md")),
    *sorted((ROOT / "examples").glob("*/README.md")),
]

_BLOCK = re.compile(r"(?ms)^```(sh|console|text)\n(.*?)^```")

_OMITTED = ("…", "...")
"""A line of them stands for any number of lines, and in a line for any text."""


@dataclass(frozen=True)
class Shown:
    """A command of a page, and the output that is shown below it; None for none."""

    page: Path
    command: str
    output: tuple[str, ...] | None = None

    @property
    def name(self) -> str:
        return f"{self.page.stem}: {self.command}"

    def parts(self) -> Iterator[list[str]]:
        """The commands that a line runs one after the other, without where output goes."""
        part: list[str] = []
        for word in shlex.split(self.command, comments=True):
            if word == "&&":
                yield part
                part = []
            else:
                part.append(word)
        if ">" in part:
            part = part[: part.index(">")]
        if part:
            yield part


def commands(page: Path) -> Iterator[Shown]:
    """Those of blocks for a shell, and those after a `$` with what follows them."""
    for kind, body in _BLOCK.findall(page.read_text(encoding="utf-8")):
        text = body.replace("\\\n", "")
        if kind == "sh":
            lines = [line for line in text.splitlines() if not line.startswith((" ", "#"))]
            yield from (Shown(page, line) for line in lines if line)
        elif text.startswith("$ "):
            for part in re.split(r"(?m)^\$ ", text)[1:]:
                command, *output = part.splitlines()
                yield Shown(page, command, tuple(output))


_SAME = (
    (r"^Device: .* \((?:cpu|cuda|metal)\), (.*?),.*", r"Device: X, \1"),
    (r"^(Trained: adapters on ).*;", r"\1X;"),
    (r"\btraining on (?:Metal|CUDA|the CPU)", "training on X"),
    # Which answer is which depends on speed.
    (r"\b(?:largest|fastest|leanest)(?:, (?:fastest|leanest))*\b(?= configuration|:|$)", "X"),
    (r"(?<![\w.])/[^\s:]+", "/X"),
    (r"\d[\d,]*(?:\.\d+)?", "0"),
    (r"(?<![\w-])[-−+]0", "0"),  # noqa: RUF001 - a minus
    (r"\b0 (?:kB|MB|GB|TB)\b", "0 B"),
    (r"\b0 ?(?:ms|s|min|h)\b", "0s"),
    (r"\b0 %!", "0 %"),
    (r"(\d)(?:-0)+\b", r"\1"),
    (r"[█▏▎▍▌▋▊▉]+", "█"),
    (r"^[*> ]+(?=0 +0 +0 )", ""),
    (r"^! some steps took .*", ""),
)
"""What stands for what differs from run to run, and from machine to machine."""


def shape(line: str) -> str:
    """`line` without what differs; nothing for a line that only some runs have."""
    text = line
    for pattern, same in _SAME:
        text = re.sub(pattern, same, text, flags=re.IGNORECASE)
    return " ".join(text.split())


def lacking(shown: Sequence[str], printed: Sequence[str]) -> str | None:
    """What of `shown` was not printed, in this order, with nothing between; None if all was."""
    lines = [found for line in printed if (found := shape(line))]
    place = 0
    for number, piece in enumerate(_pieces(shown)):
        # Only what follows omitted lines may come later.
        starts = range(place, len(lines) + 1) if number else range(1)
        start = next((each for each in starts if _all_like(piece, lines[each:])), None)
        if start is None:
            return f"{piece} is shown, and not printed after {lines[:place][-1:]}"
        place = start + len(piece)
    return None


def _pieces(shown: Sequence[str]) -> list[list[str]]:
    """The lines between those that stand for omitted ones."""
    pieces: list[list[str]] = [[]]
    for line in filter(None, map(shape, shown)):
        if line in _OMITTED:
            pieces.append([])
        else:
            pieces[-1].append(line)
    return pieces


def _all_like(wanted: Sequence[str], lines: Sequence[str]) -> bool:
    return len(lines) >= len(wanted) and all(map(_is_like, wanted, lines))


def _is_like(wanted: str, line: str) -> bool:
    parts = re.split(r" ?… ?| \.\.\.$", wanted)
    return re.fullmatch(".*".join(map(re.escape, parts)), line) is not None

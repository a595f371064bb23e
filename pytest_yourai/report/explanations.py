"""What each message means and what to do about it: explanations.yaml, read."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from pytest_yourai.core.known_failures import KNOWN_FAILURES, KnownFailure
from pytest_yourai.core.outcomes import Outcome

VARIES = "…"
"""Stands in a message for what differs from case to case."""

_FILE = Path(__file__).with_suffix(".yaml")

_SHORTEST_QUOTE = 16
"""Shorter messages may be part of texts about other things."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """Messages of one cause, what they mean, and what to do about them.

    `messages` are as they are printed, and the first is the title. `meaning` and `remedy` are
    Markdown, with links as from docs/. `pattern` finds texts in lower case; `words` are what else
    people may look for.
    """

    messages: tuple[str, ...]
    remedy: str
    meaning: str
    source: str
    pattern: str
    words: str

    @property
    def title(self) -> str:
        """The heading on the page."""
        return self.messages[0]

    def patterns(self) -> Iterator[str]:
        """Regular expressions for texts in lower case, with single spaces."""
        for message in self.messages:
            parts = message.lower().strip(f" .{VARIES}").split(VARIES)
            if len("".join(parts)) >= _SHORTEST_QUOTE:
                yield ".{0,200}?".join(map(re.escape, parts))
        if self.pattern:
            yield self.pattern


@dataclass(frozen=True, slots=True)
class Section:
    """A part of the page, with the paragraph below its heading."""

    title: str
    about: str
    entries: tuple[Explanation, ...]


@functools.cache
def read_sections() -> tuple[Section, ...]:
    """All explanations, in the order of the page."""
    found = yaml.safe_load(_FILE.read_text(encoding="utf-8"))
    return tuple(
        Section(each["title"], each["about"], tuple(map(_explanation, each["entries"])))
        for each in found
    )


def _explanation(entry: Mapping[str, Any]) -> Explanation:
    if "outcome" in entry:
        return _of_outcome(entry, Outcome(entry["outcome"]))
    known = _known(entry["failure"]) if "failure" in entry else None
    remedies = [*(_remedies(known) if known else ()), entry.get("remedy", "")]
    return Explanation(
        tuple(entry["messages"]),
        " ".join(filter(None, remedies)),
        entry.get("meaning", ""),
        entry.get("source", ""),
        known.pattern if known else entry.get("pattern", ""),
        " ".join(filter(None, (entry.get("failure"), entry.get("words")))),
    )


def _of_outcome(entry: Mapping[str, Any], outcome: Outcome) -> Explanation:
    shown = outcome.replace("_", " ")
    # Some are common words: only where the text is about the outcome.
    pattern = rf"\A(?:{outcome}|{shown})\.?\Z|✗ {shown}:|\boutcome\"?:? \"?{outcome}\b"
    return Explanation(
        (outcome.value,),
        entry["remedy"],
        entry["meaning"],
        "",
        pattern,
        f"{shown} {entry.get('words', '')}",
    )


def _known(what: str) -> KnownFailure:
    [known] = [each for each in KNOWN_FAILURES if each.what == what]
    return known


def _remedies(known: KnownFailure) -> Iterator[str]:
    yield f"{known.remedy[0].upper()}{known.remedy[1:]}."
    if known.in_training:
        yield f"In training, {known.in_training}."

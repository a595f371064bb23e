"""Find the explanations of a message, a line of a log or a whole traceback, and show them."""

from __future__ import annotations

import difflib
import math
import re
import textwrap
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from pytest_yourai.core.sanitize import without_controls
from pytest_yourai.report.explanations import Explanation, Section

PAGE = "docs/troubleshooting.md"

_MOST = 3
"""Explanations that are shown."""

_NEAR = 0.5
"""The least likeness, from 0 to 1, of a text and an explanation that is called near."""

_LIKE_WORD = 0.75
"""The least similarity of two spellings of a word."""

_WHOLE = 0.8
"""The likeness of words that are all in a phrase."""

_NEARLY_AS_NEAR = 0.8
"""The part of the best likeness that others must have to be shown, too."""

_LAST_LINES = 200
"""Lines of a log that are compared word by word."""

_COMMON = re.compile(
    r"a|an|and|are|as|at|be|but|by|can|did|do|does|for|from|has|have|how|i|if|in|is|it|its|me|my|no|"
    r"not|of|on|only|or|so|than|that|the|then|there|they|this|to|was|what|when|which|why|will|with|"
    r"you"
)
"""Words that say nothing about a cause."""


@dataclass(frozen=True, slots=True)
class Found:
    """Explanations of a text, the best first; not `exact`: those nearest to it."""

    entries: tuple[Explanation, ...]
    exact: bool


def find(text: str, sections: Iterable[Section]) -> Found:
    """Explanations of the messages in `text`; of none of them, those whose words are like it."""
    entries = [each for section in sections for each in section.entries]
    lines = [" ".join(line.split()).lower() for line in without_controls(text).splitlines()]
    whole = " ".join(lines).strip()
    if exact := _quoted(whole, entries) or _parts(whole, entries):
        return Found(exact, exact=True)
    return Found(_nearest([line for line in lines if line][-_LAST_LINES:], entries), exact=False)


def _quoted(text: str, entries: Iterable[Explanation]) -> tuple[Explanation, ...]:
    """Those with a message in `text`, the longest first, without parts of others."""
    found = [
        (match.span(), each)
        for each in entries
        for pattern in each.patterns()
        if (match := re.search(pattern, text))
    ]
    found.sort(key=lambda one: one[0][0] - one[0][1])
    kept: list[tuple[tuple[int, int], Explanation]] = []
    for span, each in found:
        inside = any(start <= span[0] and span[1] <= end for (start, end), _ in kept)
        if not inside and all(each is not other for _, other in kept):
            kept.append((span, each))
    return tuple(each for _, each in kept[:_MOST])


def _parts(text: str, entries: Iterable[Explanation]) -> tuple[Explanation, ...]:
    """Those in whose messages the whole text stands; one word may stand anywhere."""
    if " " not in text:
        return ()
    found = [e for e in entries if any(text in message.lower() for message in e.messages)]
    return tuple(found[:_MOST])


def _nearest(lines: Sequence[str], entries: Sequence[Explanation]) -> tuple[Explanation, ...]:
    phrases = [
        (_words(phrase), each)
        for each in entries
        for phrase in (*each.messages, *each.words.split(","))
        if phrase
    ]
    counts = Counter(word for words, _ in phrases for word in words)
    scores: dict[Explanation, float] = {}
    for line in lines:
        asked = {_known_word(word, counts) for word in _words(line)}
        for words, each in phrases:
            likeness = _likeness(asked, words, counts, len(phrases))
            scores[each] = max(scores.get(each, 0.0), likeness)
    least = max(_NEAR, _NEARLY_AS_NEAR * max(scores.values(), default=0.0))
    near = sorted((each for each in scores if scores[each] >= least), key=lambda e: -scores[e])
    return tuple(near[:_MOST])


def _words(text: str) -> set[str]:
    found = re.findall(r"[a-z_][a-z_0-9]+", text.lower())
    return {word for word in found if not _COMMON.fullmatch(word)}


def _known_word(word: str, counts: Counter[str]) -> str:
    """`word`, or the one that may be meant: spelling mistakes are common where it is typed."""
    if word in counts:
        return word
    return next(iter(difflib.get_close_matches(word, counts, 1, _LIKE_WORD)), word)


def _likeness(asked: set[str], words: set[str], counts: Counter[str], total: int) -> float:
    """The cosine of two sets of words, in which a rare word counts more.

    Two words or more that are all in a phrase are enough.
    """

    def weight(of: set[str]) -> float:
        return sum(math.log(1 + total / counts.get(word, 1)) ** 2 for word in of)

    common = asked & words
    if not common:
        return 0.0
    cosine = weight(common) / math.sqrt(weight(asked) * weight(words))
    return max(cosine, _WHOLE) if len(asked) > 1 and common == asked else cosine


def lines(found: Found, width: int) -> Iterator[str]:
    """`found` as text for a terminal."""
    if not found.exact:
        yield "No explanation has this message; the nearest:"
        yield ""
    for number, each in enumerate(found.entries):
        if number:
            yield ""
        yield each.title
        named = {"Printed by": each.source, "Meaning": each.meaning, "What to do": each.remedy}
        for name, text in named.items():
            if text:
                yield from _wrapped(f"{name}: {_plain(text)}", width)
    yield ""
    yield f"More, in the repository: {PAGE}"


def _wrapped(text: str, width: int) -> list[str]:
    return textwrap.wrap(
        text,
        width,
        initial_indent="  ",
        subsequent_indent="    ",
        break_long_words=False,
        break_on_hyphens=False,
    )


def _plain(markdown: str) -> str:
    """Without marks; a link is followed by where it leads."""
    linked = re.sub(r"\[([^\]]*)\]\(([^)]*)\)", _link, markdown)
    return linked.replace("`", "").replace("**", "")


def _link(found: re.Match[str]) -> str:
    text, target = found.groups()
    if target.startswith("#"):
        return f"{text} ({PAGE}{target})"
    return f"{text} ({target})" if ":" in target else f"{text} (docs/{target})"

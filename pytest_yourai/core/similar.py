"""Words like the one that was written: what a user may have meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

_LIKE_ENOUGH = 0.6
"""The least similarity, from 0 to 1, of two words that may be mistaken for each other."""


def similar(word: str, words: Iterable[str], most: int = 1) -> list[str]:
    """Those of `words` that are like `word`, the nearest first, and no more than `most`.

    The dashes of flags do not count: they would make all of them alike.
    """
    by_letters = {each.lstrip("-"): each for each in words}
    found = difflib.get_close_matches(word.lstrip("-"), by_letters, n=most, cutoff=_LIKE_ENOUGH)
    return [by_letters[letters] for letters in found]

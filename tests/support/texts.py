"""Texts for Hypothesis."""

from __future__ import annotations

from hypothesis import strategies as st

CHARACTERS = st.characters(exclude_categories=["Cs"])
"""Those of UTF-8, as `st.text()` has them, which tries a million of them first: seconds."""
TEXTS = st.text(CHARACTERS)

SHORT_TEXTS = st.text(CHARACTERS, max_size=8)


def matching(pattern: str) -> st.SearchStrategy[str]:
    """Texts that `pattern` matches from end to end."""
    return st.from_regex(pattern, fullmatch=True, alphabet=CHARACTERS)

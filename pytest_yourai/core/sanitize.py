"""Removes tokens, passwords and control characters from text before it is kept or shown."""

from __future__ import annotations

import enum
import functools
import math
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pytest_yourai.core.opening import read_regular

_SECRET_NAME = re.compile(
    r"TOKEN|SECRET|PASSW|PASSPHRASE|CREDENTIAL|API_?KEY|AUTH(?!OR)|(?:^|_)PASS$|_KEY$",
    re.IGNORECASE,
)

_PLACE_NAME = re.compile(r"(?:PATH|FILE|DIR|HOME|SOCK|URL)$", re.IGNORECASE)
"""Variables that say where a secret lies, not what it is."""

_SHORTEST_SECRET = 8
"""Shorter values (`true`, `1`) would hide ordinary words."""

_KNOWN_FORMS = re.compile(
    r"\b(?:hf_|api_org_|gh[pousr]_|github_pat_|glpat-|sk-|xox[abp]-)[A-Za-z0-9_-]{16,}"
    r"|\bAKIA[0-9A-Z]{16}\b"
    r"|\beyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]+"
    r"|(?<=[Bb]earer\s)[A-Za-z0-9._~+/=-]{8,}"
    r"|(?<=[?&]token=)[^\s&]+"
    r"|(?<=://)[^\s/:@]+:[^\s/@]+(?=@)"
)
"""Hugging Face, GitHub, GitLab, OpenAI, Slack, AWS; JWTs; bearer tokens; what addresses carry."""


class Redactor:
    """Replaces each known secret by the name of its variable, and what looks like one by `***`."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        names = {
            value: name
            for name, value in environment.items()
            if _SECRET_NAME.search(name)
            and not _PLACE_NAME.search(name)
            and len(value) >= _SHORTEST_SECRET
        }
        for token in _stored_tokens(environment):
            names.setdefault(token, "HF_TOKEN")
        self._names = names
        # The longest first: one secret may be the beginning of another.
        longest_first = sorted(names, key=len, reverse=True)
        self._known = re.compile("|".join(map(re.escape, longest_first))) if names else None

    def __call__(self, text: str) -> str:
        """`text` without secrets."""
        if self._known is not None:
            text = self._known.sub(lambda match: f"[{self._names[match.group()]}]", text)
        return _KNOWN_FORMS.sub("***", text)


@functools.cache
def redactor() -> Redactor:
    """The redactor for the environment of this process at its first call."""
    return Redactor(os.environ)


def _stored_tokens(environment: Mapping[str, str]) -> list[str]:
    """The token that `hf auth login` stores, at huggingface_hub's documented place."""
    home = Path(environment.get("HF_HOME") or "~/.cache/huggingface").expanduser()
    path = Path(environment.get("HF_TOKEN_PATH") or home / "token").expanduser()
    try:
        token = read_regular(path).decode().strip()
    except (OSError, ValueError):
        return []
    return [token] if len(token) >= _SHORTEST_SECRET else []


_MOST_CHARACTERS = 2000


def printable(text: str) -> str:
    """`text` in one line: white space as spaces, other unprintable characters as question marks.

    Control characters and those that change the direction of text are not printable. Text of more
    than 2000 characters is cut.
    """
    shown = "".join(
        each if each.isprintable() else " " if each.isspace() else "?"
        for each in text[:_MOST_CHARACTERS]
    )
    return f"{shown}…" if len(text) > _MOST_CHARACTERS else shown


def all_printable(value: Any) -> Any:
    """A JSON value with every text in it, keys too, made `printable`."""
    if isinstance(value, dict):
        return {printable(str(key)): all_printable(item) for key, item in value.items()}
    if isinstance(value, list):
        return [all_printable(item) for item in value]
    return printable(value) if isinstance(value, str) else value


def without_secrets(value: Any) -> Any:
    """A JSON value with every text in it redacted; numbers and enum members stay as they are."""
    if isinstance(value, dict):
        return {key: without_secrets(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [without_secrets(item) for item in value]
    if isinstance(value, str) and not isinstance(value, enum.Enum):
        return redactor()(value)
    return value


def clean(value: Any) -> Any:
    """A JSON value without secrets, and with None for floats that are not finite."""
    if isinstance(value, dict):
        return {key: clean(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [clean(item) for item in value]
    is_number = not isinstance(value, float) or math.isfinite(value)
    return without_secrets(value) if is_number else None

"""Takes tokens and passwords out of text before it is kept or shown."""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Mapping
from pathlib import Path

_SECRET_NAME = re.compile(
    r"TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIAL|API_?KEY|ACCESS_?KEY|PRIVATE_?KEY|AUTH", re.IGNORECASE
)

_SHORTEST_SECRET = 8
"""Shorter values (`true`, `1`) would blot out ordinary words."""

_KNOWN_FORMS = re.compile(
    r"\b(?:hf_|api_org_|gh[pousr]_|github_pat_|glpat-|sk-|xox[abp]-)[A-Za-z0-9_-]{16,}"
    r"|\bAKIA[0-9A-Z]{16}\b"
    r"|(?<=[Bb]earer )[A-Za-z0-9._~+/=-]{8,}"
    r"|(?<=://)[^\s/:@]+:[^\s/@]+(?=@)"
)
"""Hugging Face, GitHub, GitLab, OpenAI, Slack, AWS; bearer tokens; passwords in addresses."""


class Redactor:
    """Replaces each known secret by the name of its variable, and what looks like one by `***`."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        names = {
            value: name
            for name, value in environment.items()
            if _SECRET_NAME.search(name)
            and len(value) >= _SHORTEST_SECRET
            # Variables that say where a secret lies, not what it is.
            and not value.startswith(("/", "~"))
        }
        for token in _stored_tokens(environment):
            names.setdefault(token, "HF_TOKEN")
        self._names = names
        # The longest first: one secret may be the beginning of another.
        longest_first = sorted(names, key=len, reverse=True)
        self._known = re.compile("|".join(map(re.escape, longest_first))) if names else None

    def __call__(self, text: str) -> str:
        if self._known is not None:
            text = self._known.sub(lambda match: f"[{self._names[match.group()]}]", text)
        return _KNOWN_FORMS.sub("***", text)


@functools.cache
def redactor() -> Redactor:
    """The one for this process's environment, as it was first asked for."""
    return Redactor(os.environ)


def _stored_tokens(environment: Mapping[str, str]) -> list[str]:
    """What `hf auth login` has stored; huggingface_hub's documented place."""
    home = Path(environment.get("HF_HOME") or "~/.cache/huggingface").expanduser()
    path = Path(environment.get("HF_TOKEN_PATH") or home / "token").expanduser()
    try:
        token = path.read_text(encoding="utf-8").strip()
    except (OSError, ValueError):
        return []
    return [token] if len(token) >= _SHORTEST_SECRET else []

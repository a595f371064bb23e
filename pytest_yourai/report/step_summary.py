"""The page that GitHub shows of a job: Markdown is appended to a file that it names."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pytest_yourai.report.markdown_text import cut

MOST_BYTES = 1 << 20
"""Of all that one step appends: GitHub shows nothing of a step that wrote more."""

_LIMIT = "GitHub shows 1 MiB of a step"

_VARIABLE = "GITHUB_STEP_SUMMARY"


def step_summary(environment: Mapping[str, str]) -> Path | None:
    """Where the summary of the job goes; None outside of one."""
    name = environment.get(_VARIABLE)
    return Path(name) if name else None


def append_to_step_summary(path: Path, text: str) -> str | None:
    """Append `text`, cut where it is too long; what to say of it, None where it is all there.

    What goes wrong here is said, and nothing more comes of it: the job is about something else.
    """
    try:
        used_bytes = path.stat().st_size if path.exists() else 0
        fitting = cut(text, MOST_BYTES - used_bytes, f"{_LIMIT}.")
        with path.open("ab") as file:
            file.write(fitting.encode())
    except OSError as problem:
        return f"Summary of the job: {path} cannot be written: {problem.strerror}"
    return None if fitting == text else f"Summary of the job: cut, {_LIMIT}"

"""Output of the system's own programs."""

from __future__ import annotations

import subprocess
from collections.abc import Callable

_TIMEOUT_S = 5

Command = Callable[..., str]
"""Runs a command, given as its words, and returns what it prints on stdout."""


def output_of(*command: str) -> str:
    """What it prints on stdout; empty where it cannot be run, or does not end."""
    try:
        return subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=_TIMEOUT_S
        ).stdout
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError):
        return ""

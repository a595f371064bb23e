"""The pytest command that a sweep is started with from outside of pytest."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence


def pytest_command(arguments: Sequence[str]) -> list[str]:
    """With this Python, and as `pytest` itself: a pytest.py in the folder is not taken for it."""
    return [sys.executable, "-P", "-m", "pytest", *arguments]


def shown(arguments: Sequence[str]) -> str:
    """The line that tells people what is run, and that they can run themselves."""
    return f"+ {shlex.join(['pytest', *arguments])}"

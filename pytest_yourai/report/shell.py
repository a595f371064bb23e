"""Commands quoted for a shell. Light: estimates print one without planning a sweep."""

from __future__ import annotations

import shlex

from pytest_yourai.core.sanitize import redactor


def command_line(*words: str) -> str:
    """A command to paste into a shell, without secrets."""
    return redactor()(shlex.join(words))


def pytest_line(*arguments: str) -> str:
    return command_line("pytest", *arguments)

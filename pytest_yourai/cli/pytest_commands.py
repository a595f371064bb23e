"""`yourai optimize`, `benchmark` and `recommend`: pytest with the plugin's flags."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pytest_yourai.cli.parser import in_own_words
from pytest_yourai.core.errors import OptionError
from pytest_yourai.plan.flags import FLAGS, Flag

_HELP = {"quick": "the quick matrix"}
"""Help texts that differ from pytest's."""


@dataclass(frozen=True)
class PytestCommand:
    """A command, the flag that it implies, and the names of the flags that it takes."""

    name: str
    help: str
    flag: str | None
    takes: frozenset[str]
    needs: frozenset[str] = frozenset()
    """One of these must be given."""

    @property
    def flags(self) -> list[Flag]:
        return [flag for flag in FLAGS if flag.name in self.takes]


_COMMANDS = frozenset(flag.name for flag in FLAGS if flag.is_command)

_ALL = frozenset(flag.name for flag in FLAGS) - _COMMANDS

PYTEST_COMMANDS = (
    PytestCommand(
        "optimize",
        "measure which batch size, LoRA rank and LoRA layers fit, and which are best",
        flag=None,
        takes=_ALL - {"optimize"},
        needs=frozenset({"model", "replay", "config"}),
    ),
    PytestCommand(
        "benchmark",
        "try models, smallest first, until one does not fit",
        flag="benchmark",
        takes=_ALL - {"replay"},
    ),
    PytestCommand(
        "recommend",
        "print which models fit, by estimate, and run nothing",
        flag="recommend",
        takes=frozenset({
            "model", "models", "max-memory", "output", "seq-length", "weights", "quantize",
            "lora-keys", "grad-checkpoint",
        }),
    ),
)  # fmt: skip


def add_pytest_flags(parser: argparse.ArgumentParser, command: PytestCommand) -> None:
    """Add the flags that `command` takes, without their prefix."""
    for flag in command.flags:
        settings: dict[str, Any] = {"action": "append", "metavar": flag.metavar}
        if flag.metavar is None:
            settings = {"action": "store_true"}
        parser.add_argument(f"--{flag.name}", dest=flag.key, help=_help(flag), **settings)


def pytest_arguments(
    command: PytestCommand, given: argparse.Namespace, rest: Sequence[str]
) -> list[str]:
    """The arguments of pytest, with its own in `rest`. OptionError if a needed flag is missing.

    Values follow `=`, so that pytest does not take them for test paths.
    """
    needed = [flag for flag in command.flags if flag.name in command.needs]
    if needed and not any(getattr(given, flag.key) for flag in needed):
        raise OptionError(f"add {' or '.join(f'--{flag.name} {flag.metavar}' for flag in needed)}")
    arguments = [flag.option for flag in FLAGS if flag.name == command.flag]
    for flag in command.flags:
        value = getattr(given, flag.key)
        if value is True:
            arguments.append(flag.option)
        elif value:
            arguments += [f"{flag.option}={each}" for each in value]
    return [*arguments, *rest]


def _help(flag: Flag) -> str:
    text = _HELP.get(flag.name, flag.help)
    if flag.default:
        text = f"{text} (default: {flag.default})"
    return in_own_words(text).replace("%", "%%")

"""`yourai optimize`, `benchmark` and `recommend`: pytest with the plugin's flags."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

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


_COMMANDS = frozenset(flag.name for flag in FLAGS if flag.is_command)

_ALL = frozenset(flag.name for flag in FLAGS) - _COMMANDS

PYTEST_COMMANDS = (
    PytestCommand(
        "optimize",
        "measure which batch size, LoRA rank and LoRA layers fit, and which are best",
        flag=None,
        takes=_ALL - {"optimize"},
        needs=frozenset({"model", "replay"}),
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


def add_flags(parser: argparse.ArgumentParser, command: PytestCommand) -> None:
    """Add the flags that `command` takes, without their prefix."""
    for flag in _flags_of(command):
        text = _help(flag)
        if flag.metavar is None:
            parser.add_argument(f"--{flag.name}", dest=flag.key, action="store_true", help=text)
        else:
            parser.add_argument(
                f"--{flag.name}", dest=flag.key, metavar=flag.metavar, action="append", help=text
            )


def pytest_arguments(
    command: PytestCommand, given: argparse.Namespace, rest: Sequence[str]
) -> list[str]:
    """The arguments of pytest, with its own in `rest`. OptionError if a needed flag is missing.

    Values follow `=`, so that pytest does not take them for test paths.
    """
    needed = [flag for flag in _flags_of(command) if flag.name in command.needs]
    if needed and not any(getattr(given, flag.key) for flag in needed):
        raise OptionError(f"add {' or '.join(f'--{flag.name} {flag.metavar}' for flag in needed)}")
    own = [flag.option for flag in FLAGS if flag.name == command.flag]
    return [*own, *_given(command, given), *rest]


def _given(command: PytestCommand, given: argparse.Namespace) -> Iterator[str]:
    for flag in _flags_of(command):
        values = getattr(given, flag.key)
        if values is True:
            yield flag.option
        elif values:
            yield from (f"{flag.option}={value}" for value in values)


def _flags_of(command: PytestCommand) -> list[Flag]:
    return [flag for flag in FLAGS if flag.name in command.takes]


def _help(flag: Flag) -> str:
    text = _HELP.get(flag.name, flag.help)
    if flag.default:
        text = f"{text} (default: {flag.default})"
    return in_own_words(text).replace("%", "%%")

"""`yourai sweep`, `models` and `fit`: pytest with the plugin's flags."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from pytest_yourai.cli.parser import in_own_words
from pytest_yourai.core.errors import OptionError
from pytest_yourai.plan.flags import FLAGS, GROUPS, Flag
from pytest_yourai.plan.short_commands import (
    PASSED_LETTERS,
    PASSED_SWITCHES,
    PASSED_VALUES,
    ShortCommand,
)

_HELP = {"quick": "the quick matrix"}
"""Help texts that differ from pytest's."""

_MODELS = "yourai_model"


class _PassOn(argparse.Action):
    """Keeps a flag of pytest as it was written, in order."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,  # noqa: ARG002 - as argparse calls it
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        words = [] if values == [] else [values]
        passed = [*(getattr(namespace, self.dest) or []), option_string, *words]
        setattr(namespace, self.dest, passed)


def add_pytest_flags(parser: argparse.ArgumentParser, command: ShortCommand) -> None:
    """Add the flags that `command` takes, without their prefix, and some of pytest's own."""
    parser.add_argument("models", metavar="MODEL", nargs="*", help=command.model)
    for group in GROUPS:
        taken = [flag for flag in group.flags if flag.name in command.takes]
        shown = parser.add_argument_group(group.title) if taken else parser
        for flag in taken:
            settings: dict[str, Any] = {"action": "append", "metavar": flag.metavar}
            if flag.metavar is None:
                settings = {"action": "store_true"}
            words = (f"--{flag.name}", *flag.aliases)
            shown.add_argument(*words, dest=flag.key, help=_help(flag), **settings)
    letters = [f"-{letter}" for letter in PASSED_LETTERS]
    group_of_pytest = parser.add_argument_group(
        "pytest", f"Passed on: {' '.join([*letters, *PASSED_SWITCHES, *PASSED_VALUES])}"
    )
    hidden: dict[str, Any] = {"dest": "passed", "action": _PassOn, "help": argparse.SUPPRESS}
    for word in (*letters, *PASSED_SWITCHES):
        group_of_pytest.add_argument(word, nargs=0, **hidden)
    for word in PASSED_VALUES:
        group_of_pytest.add_argument(word, **hidden)


def take_models(given: argparse.Namespace, words: Sequence[str]) -> None:
    """Make models of the positional arguments, and of `words` that stood between flags."""
    named = [*given.models, *words]
    if named:
        setattr(given, _MODELS, [*(getattr(given, _MODELS) or []), *named])
    del given.models  # else it would be the list of presets


def pytest_arguments(
    command: ShortCommand, given: argparse.Namespace, rest: Sequence[str]
) -> list[str]:
    """The arguments of pytest, with its own in `rest`. OptionError if a needed flag is missing.

    Values follow `=`, so that pytest does not take them for test paths.
    """
    needed = [flag for flag in command.flags if flag.name in command.needs]
    if needed and not any(getattr(given, flag.key) for flag in needed):
        words = [
            "MODEL" if flag.name == "model" else f"--{flag.name} {flag.metavar}" for flag in needed
        ]
        raise OptionError(f"add a {' or '.join(words)}")
    arguments = [flag.option for flag in FLAGS if flag.name == command.flag]
    for flag in command.flags:
        value = getattr(given, flag.key)
        if value is True:
            arguments.append(flag.option)
        elif value:
            arguments += [f"{flag.option}={each}" for each in value]
    return [*arguments, *(given.passed or []), *rest]


def _help(flag: Flag) -> str:
    text = _HELP.get(flag.name, flag.help)
    if flag.default:
        text = f"{text} (default: {flag.default})"
    return in_own_words(text).replace("%", "%%")

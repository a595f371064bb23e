"""`yourai sweep`, `models` and `fit`: pytest with the plugin's flags."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from typing import Any

from pytest_yourai.cli.parser import parsed
from pytest_yourai.core.errors import OptionError
from pytest_yourai.plan.axis_flags import FROM_MATRIX
from pytest_yourai.plan.flag_types import Flag
from pytest_yourai.plan.flags import FLAGS, GROUPS
from pytest_yourai.plan.invocation import Invocation
from pytest_yourai.plan.short_commands import (
    FIT,
    PASSED_LETTERS,
    PASSED_SWITCHES,
    PASSED_VALUES,
    ShortCommand,
    in_own_words,
)

_HELP = {"quick": "the quick matrix"}
"""Help texts that differ from pytest's."""

_MODELS = "yourai_model"

_PREFIX = "--yourai-"
"""What the plugin's flags begin with in pytest."""


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
    parser.add_argument("positional", metavar="MODEL", nargs="*", help=command.model)
    for group in GROUPS:
        taken = [flag for flag in group.flags if flag.name in command.takes]
        shown = parser.add_argument_group(group.title) if taken else parser
        for flag in taken:
            settings: dict[str, Any] = {"action": "append", "metavar": flag.metavar}
            if flag.metavar is None:
                settings = {"action": "store_true"}
            words = (f"--{flag.name}", *flag.aliases)
            shown.add_argument(*words, dest=flag.key, help=_help(flag, command), **settings)
    letters = [f"-{letter}" for letter in PASSED_LETTERS]
    group_of_pytest = parser.add_argument_group(
        "pytest", f"Passed on: {' '.join([*letters, *PASSED_SWITCHES, *PASSED_VALUES])}"
    )
    if command.hands_on:
        _add_training_flags(parser)
    hidden: dict[str, Any] = {"dest": "passed", "action": _PassOn, "help": argparse.SUPPRESS}
    for word in (*letters, *PASSED_SWITCHES):
        group_of_pytest.add_argument(word, nargs=0, **hidden)
    for word in PASSED_VALUES:
        group_of_pytest.add_argument(word, **hidden)


def _add_training_flags(parser: argparse.ArgumentParser) -> None:
    """Add those that only the training with the answer needs, which are kept as they are."""
    from pytest_yourai.training.options import HANDED_ON, TRAIN_OPTIONS  # noqa: PLC0415 - as above

    flags = [TRAIN_OPTIONS[name] for name in HANDED_ON]
    words = " ".join(word for option in flags for word in (option.flag, *option.aliases))
    group = parser.add_argument_group(
        "Training", f"Handed on to the `yourai train` that is printed: {words}"
    )
    for option in flags:
        group.add_argument(
            option.flag,
            *option.aliases,
            dest="training",
            action=_PassOn,
            type=_checked(parsed(option.parse)),
            help=argparse.SUPPRESS,
        )


def _checked(parse: Callable[[str], Any]) -> Callable[[str], str]:
    """A `type` of argparse that leaves the text as it is."""

    def check(text: str) -> str:
        parse(text)
        return text

    return check


def without_prefix(arguments: Sequence[str]) -> list[str]:
    """`arguments` with the plugin's flags as the commands spell them: `--rank`."""
    return [
        f"--{each.removeprefix(_PREFIX)}" if each.startswith(_PREFIX) else each
        for each in arguments
    ]


def take_models(given: argparse.Namespace, words: Sequence[str]) -> None:
    """Make models of the positional arguments, and of `words` that stood between flags."""
    named = [*given.positional, *words]
    if named:
        setattr(given, _MODELS, [*(getattr(given, _MODELS) or []), *named])


def invocation(command: ShortCommand, given: argparse.Namespace, rest: Sequence[str]) -> Invocation:
    """The run of pytest that it is, with its own arguments in `rest`. OptionError for a mistake.

    Options of training are not written into a recipe, which would lack them.
    """
    training = tuple(getattr(given, "training", None) or ())
    if training and given.yourai_lora_config:
        raise OptionError(
            f"--lora-config: {training[0]} would not be in it: leave one of the two out, or name a "
            "recipe that has it by --config"
        )
    arguments = tuple(_pytest_arguments(command, given, rest))
    return Invocation(arguments, is_short=True, training=training)


def _pytest_arguments(
    command: ShortCommand, given: argparse.Namespace, rest: Sequence[str]
) -> list[str]:
    """The arguments of pytest. OptionError if a needed flag is missing.

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


def _help(flag: Flag, command: ShortCommand) -> str:
    text, default = _HELP.get(flag.name, flag.help), flag.default
    if command is FIT and default == FROM_MATRIX:
        default = "safe for model and budget"
    if default:
        text = f"{text} (default: {default})"
    return in_own_words(text).replace("%", "%%")

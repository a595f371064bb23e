"""The flags of `yourai train`."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Sequence
from typing import Any

from pytest_yourai.cli.parser import parsed
from pytest_yourai.core.errors import OptionError
from pytest_yourai.training.options import TRAIN_FIELDS, TRAIN_GROUPS, TRAIN_OPTIONS


def add_train_flags(parser: argparse.ArgumentParser) -> None:
    """Add the options of training; their values stay None if they are not given."""
    fields = {field.name: field for field in TRAIN_FIELDS}
    parser.add_argument(
        "positional",
        metavar="MODEL",
        nargs="*",
        help="the model to train, instead of --model",
    )
    for title, names in TRAIN_GROUPS.items():
        group = parser.add_argument_group(title)
        for name in names:
            _add_train_flag(group, fields[name])


def take_model(given: argparse.Namespace, words: Sequence[str]) -> None:
    """Make the model of the positional argument, or of a word that stood between flags."""
    named = [*given.positional, *words]
    if len(named) > 1 or (named and given.model is not None):
        raise OptionError(f"{named[-1]} is one model too many: name one")
    if named:
        try:
            given.model = TRAIN_OPTIONS["model"].parse(named[0])
        except ValueError as problem:
            raise OptionError(f"MODEL: {named[0]!r} is not valid: {problem}") from None


def _add_train_flag(group: argparse._ArgumentGroup, field: dataclasses.Field[Any]) -> None:
    option = TRAIN_OPTIONS[field.name]
    default = option.shown_default
    settings: dict[str, Any] = {
        "dest": field.name,
        "help": f"{option.help} (default: {default})" if default else option.help,
        "default": field.default,
    }
    if field.default is dataclasses.MISSING:
        settings["default"] = None  # the recipe may say
    if option.has_negation:
        settings["action"] = argparse.BooleanOptionalAction
    elif option.metavar is None:
        settings |= {"action": "store_const", "const": True}
    else:
        settings |= {"metavar": option.metavar, "type": parsed(option.parse)}
    group.add_argument(option.flag, *option.aliases, **settings)

"""The flags of `yourai train`, `compare`, `report` and `show`."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path
from typing import Any

from pytest_yourai.cli.parser import parsed
from pytest_yourai.plan.flags import FAIL_ON_HELP
from pytest_yourai.training.options import TRAIN_FIELDS, TRAIN_OPTIONS


def add_train_flags(parser: argparse.ArgumentParser) -> None:
    """Add the options of training; their values stay None if they are not given."""
    for field in TRAIN_FIELDS:
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
        parser.add_argument(option.flag, **settings)


FORMATS = ("table", "md", "json", "jsonl", "csv")


def add_compare_flags(parser: argparse.ArgumentParser) -> None:
    _add_profiles(parser, "the first is the older one")
    parser.add_argument(
        "--fail-on",
        metavar="METRIC:AMOUNT",
        action="append",
        default=[],
        help=FAIL_ON_HELP.replace("%", "%%"),
    )


def add_report_flags(parser: argparse.ArgumentParser) -> None:
    _add_profiles(parser, "a file, or a folder of them, shown as a history")
    parser.add_argument(
        "-o", "--output", metavar="FILE", type=Path, required=True, help="the page to write"
    )


def add_show_flags(parser: argparse.ArgumentParser) -> None:
    _add_profiles(parser, "a profile or benchmark results; with several, each row names its own")
    parser.add_argument(
        "--format",
        choices=FORMATS,
        default=FORMATS[0],
        help="table: aligned text for a terminal, * marks the optimum; md: Markdown for GitHub, as "
        "a sweep writes it; json, jsonl and csv: every key of a profile's rows "
        f"(default: {FORMATS[0]})",
    )


def _add_profiles(parser: argparse.ArgumentParser, text: str) -> None:
    parser.add_argument("profiles", metavar="PROFILE", type=Path, nargs="+", help=text)

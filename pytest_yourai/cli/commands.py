"""The commands of `yourai`, and the parsers of their arguments."""

from __future__ import annotations

import argparse
import pkgutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pytest_yourai.cli.parser import Parser
from pytest_yourai.cli.pytest_commands import add_pytest_flags
from pytest_yourai.plan.short_commands import SHORT_COMMANDS
from pytest_yourai.report.safe_stream import print_lines


@dataclass(frozen=True)
class OwnCommand:
    """A command that is not pytest; `function` takes its flags, and returns the exit status.

    Functions are named as `module:function`, and imported when they are needed: `yourai --help`
    must not wait for pydantic, psutil and yaml.
    """

    name: str
    help: str
    add_flags: str
    function: str
    usage: str | None = None
    take_model: str | None = None
    """Where it has a positional model: takes words that stood between flags, too."""

    @classmethod
    def found(cls, name: str) -> Callable[..., Any]:
        """The function in a module of this package."""
        function: Callable[..., Any] = pkgutil.resolve_name(f"{__package__}.{name}")
        return function


OWN_COMMANDS = (
    OwnCommand(
        "train",
        "train LoRA adapters with a measured configuration",
        "train_flags:add_train_flags",
        "train:train",
        usage="yourai train [MODEL] [--FLAG ...]",
        take_model="train_flags:take_model",
    ),
    OwnCommand(
        "compare",
        "compare profiles, and fail if one got worse than the first",
        "flags:add_compare_flags",
        "compare:compare",
    ),
    OwnCommand(
        "report",
        "write profiles, or a folder of them, as an HTML page",
        "flags:add_report_flags",
        "report:report",
    ),
    OwnCommand("show", "print the rows of profiles", "flags:add_show_flags", "show:show"),
    OwnCommand(
        "fits",
        "print which configuration of a model fits which machine, from many profiles",
        "flags:add_fits_flags",
        "fits:fits",
    ),
    OwnCommand(
        "share",
        "write a profile as a file for others, without anything private; uploads nothing",
        "flags:add_share_flags",
        "share:share",
    ),
    OwnCommand(
        "check",
        "check files that others have shared: seal, sums, speeds and what is possible",
        "flags:add_check_flags",
        "check:check",
    ),
    OwnCommand(
        "verify",
        "check on this machine, in two minutes, what is measured, limited and predicted",
        "flags:add_verify_flags",
        "verify:verify",
    ),
    OwnCommand(
        "explain",
        "say what a message means, and what to do about it",
        "flags:add_explain_flags",
        "explain:explain",
    ),
    OwnCommand(
        "completion",
        "print a script with which a shell completes commands, flags and presets",
        "flags:add_completion_flags",
        "completion:completion",
    ),
)

OF_PYTEST = {name: command for command in SHORT_COMMANDS for name in (command.name, command.former)}
"""By its names."""


class _Version(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        import importlib.metadata  # noqa: PLC0415 - help must not wait for it

        print_lines(sys.stdout, f"yourai {importlib.metadata.version('pytest-yourai')}")
        parser.exit()


OWN_BY_NAME = {each.name: each for each in OWN_COMMANDS}

NAMES = (*OF_PYTEST, *(each.name for each in OWN_COMMANDS))


def make_parsers(only: str | None = None) -> tuple[Parser, dict[str, Parser]]:
    """The parser of all, and those of the commands by their names, or of `only` one."""
    parser = Parser(
        prog="yourai",
        description="Finds the LoRA fine-tuning configuration that fits this machine, and trains "
        "with it.",
        epilog="For a first look, without a download: yourai sweep tiny --quick",
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version")
    subparsers = parser.add_subparsers(
        dest="command", metavar="COMMAND", required=True, parser_class=Parser, title="commands"
    )
    parsers: dict[str, Parser] = {}
    for name, command in OF_PYTEST.items():
        if only not in (None, name):
            continue
        settings: dict[str, Any] = {"help": command.help} if name == command.name else {}
        parsers[name] = subparsers.add_parser(
            name,
            description=f"Runs pytest to {command.help}.",
            epilog="Arguments after -- go to pytest.",
            usage=f"yourai {name} [MODEL ...] [--FLAG ...] [-- PYTEST_ARGUMENT ...]",
            **settings,
        )
        add_pytest_flags(parsers[name], command)
    for own in OWN_COMMANDS:
        if only not in (None, own.name):
            continue
        parsers[own.name] = subparsers.add_parser(
            own.name,
            help=own.help,
            description=f"{own.help[0].upper()}{own.help[1:]}.",
            usage=own.usage,
        )
        own.found(own.add_flags)(parsers[own.name])
    return parser, parsers

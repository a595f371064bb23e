"""The `yourai` command: its commands, and the mistakes of a user as one sentence."""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import pkgutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from pytest_yourai.cli import flags, pytest_commands
from pytest_yourai.cli.parser import INTERRUPTED_STATUS, USAGE_STATUS, Parser, print_error
from pytest_yourai.cli.pytest_commands import PYTEST_COMMANDS, PytestCommand
from pytest_yourai.core.errors import InputError
from pytest_yourai.sweep.child_process import command_of_pytest, shown


@dataclass(frozen=True)
class Command:
    """`run` takes the flags and the arguments after --, and returns the exit status.

    It imports what it needs: `yourai --help` must not wait for pydantic, psutil and yaml.
    """

    name: str
    help: str
    add_flags: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace, Sequence[str]], int]
    runs_pytest: bool = False


def _pytest(command: PytestCommand) -> Command:
    return Command(
        command.name,
        command.help,
        partial(pytest_commands.add_flags, command=command),
        partial(_run_pytest, command),
        runs_pytest=True,
    )


def _run_pytest(command: PytestCommand, given: argparse.Namespace, rest: Sequence[str]) -> int:
    """Replace this process by pytest, so that signals and exit status are its own."""
    arguments = pytest_commands.pytest_arguments(command, given, rest)
    print(shown(arguments), flush=True)
    process = command_of_pytest(arguments)
    os.execv(process[0], process)  # noqa: S606 - no shell is wanted
    return 0


def _own(function: str, given: argparse.Namespace, _: Sequence[str]) -> int:
    """Run a `function` of the package, named as `module:function`."""
    status: int = pkgutil.resolve_name(f"{__package__}.{function}")(given)
    return status


COMMANDS = (
    *map(_pytest, PYTEST_COMMANDS),
    Command("train", flags.TRAIN_HELP, flags.add_train_flags, partial(_own, "train:train")),
    Command(
        "compare",
        flags.COMPARE_HELP,
        flags.add_compare_flags,
        partial(_own, "profile_commands:compare"),
    ),
    Command(
        "report",
        flags.REPORT_HELP,
        flags.add_report_flags,
        partial(_own, "profile_commands:report"),
    ),
    Command(
        "show",
        flags.SHOW_HELP,
        flags.add_show_flags,
        partial(_own, "profile_commands:show"),
    ),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command that `arguments` (those of the process) name; its exit status."""
    try:
        return _run(list(sys.argv[1:] if arguments is None else arguments))
    except KeyboardInterrupt:
        return INTERRUPTED_STATUS


def _run(arguments: list[str]) -> int:
    end = arguments.index("--") if "--" in arguments else len(arguments)
    own, rest = arguments[:end], arguments[end + 1 :]
    parser, parsers = _parsers()
    given, unknown = parser.parse_known_args(own)
    command = next(each for each in COMMANDS if each.name == given.command)
    if command.runs_pytest and unknown:
        parsers[command.name].error(f"unknown flag {unknown[0]}: put the flags of pytest after --")
    if not command.runs_pytest and (unknown or rest):
        parsers[command.name].error(f"unknown flag {(unknown or rest)[0]}")
    try:
        return command.run(given, rest)
    except InputError as problem:
        print_error(parsers[command.name].prog, str(problem))
        return USAGE_STATUS


def _parsers() -> tuple[Parser, dict[str, Parser]]:
    """The parser of all, and those of the commands by their names."""
    parser = Parser(
        prog="yourai",
        description="Finds the LoRA fine-tuning configuration that fits this machine, and trains "
        "with it.",
    )
    version = importlib.metadata.version("pytest-yourai")
    parser.add_argument("--version", action="version", version=f"yourai {version}")
    subparsers = parser.add_subparsers(
        dest="command", metavar="COMMAND", required=True, parser_class=Parser
    )
    parsers = {}
    for command in COMMANDS:
        texts: dict[str, Any] = {"description": f"{command.help}."}
        if command.runs_pytest:
            texts = {
                "description": f"Runs pytest to {command.help}.",
                "epilog": "Arguments after -- go to pytest.",
                "usage": f"yourai {command.name} [--FLAG ...] [-- PYTEST_ARGUMENT ...]",
            }
        parsers[command.name] = subparsers.add_parser(command.name, help=command.help, **texts)
        command.add_flags(parsers[command.name])
    return parser, parsers

"""The `yourai` command: what to do, and which of the modules beside does it."""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import sys
from collections.abc import Callable, Sequence

from pytest_yourai.cli.flags import (
    COMPARE_HELP,
    REPORT_HELP,
    SHOW_HELP,
    TRAIN_HELP,
    add_compare_flags,
    add_report_flags,
    add_show_flags,
    add_train_flags,
)
from pytest_yourai.cli.parser import INTERRUPTED_STATUS, Parser
from pytest_yourai.cli.pytest_commands import PYTEST_COMMANDS, add_flags, missing, pytest_arguments
from pytest_yourai.sweep.child_process import pytest_command, shown

_OWN_COMMANDS: dict[str, tuple[str, Callable[[argparse.ArgumentParser], None]]] = {
    "train": (TRAIN_HELP, add_train_flags),
    "compare": (COMPARE_HELP, add_compare_flags),
    "report": (REPORT_HELP, add_report_flags),
    "show": (SHOW_HELP, add_show_flags),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command that `arguments` (those of the process) name; its exit status."""
    try:
        return _run(list(sys.argv[1:] if arguments is None else arguments))
    except KeyboardInterrupt:
        return INTERRUPTED_STATUS


def _run(arguments: list[str]) -> int:
    parser, commands = _parsers()
    own, rest = _split(arguments)
    given, unknown = parser.parse_known_args(own)
    command_parser = commands[given.command]
    if given.command in _OWN_COMMANDS:
        if unknown or rest:
            command_parser.error(f"{(unknown or rest)[0]} is no flag of ours")
        return _run_own(given)
    if unknown:
        command_parser.error(f"{unknown[0]} is no flag of ours: put those of pytest behind --")
    command = next(each for each in PYTEST_COMMANDS if each.name == given.command)
    if lack := missing(command, given):
        command_parser.error(lack)
    _become_pytest(pytest_arguments(command, given, rest))
    return 0


def _run_own(given: argparse.Namespace) -> int:
    """Imported here: --help must not wait for pydantic, psutil and yaml."""
    if given.command == "train":
        from pytest_yourai.cli.train import train  # noqa: PLC0415

        return train(given)
    from pytest_yourai.cli import profile_commands  # noqa: PLC0415

    commands = {
        "compare": profile_commands.compare,
        "report": profile_commands.report,
        "show": profile_commands.show,
    }
    return commands[given.command](given)


def _become_pytest(arguments: Sequence[str]) -> None:
    """Run pytest in the place of this process, so that signals and exit status are its own."""
    print(shown(arguments), flush=True)
    command = pytest_command(arguments)
    os.execv(command[0], command)  # noqa: S606 - no shell is wanted


def _split(arguments: list[str]) -> tuple[list[str], list[str]]:
    """What is ours, and what stands behind `--`."""
    if "--" not in arguments:
        return arguments, []
    place = arguments.index("--")
    return arguments[:place], arguments[place + 1 :]


def _parsers() -> tuple[Parser, dict[str, Parser]]:
    """The command's, and by name those of its commands."""
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
    commands = {}
    for command in PYTEST_COMMANDS:
        commands[command.name] = subparsers.add_parser(
            command.name,
            help=command.help,
            description=f"Runs pytest to {command.help}.",
            epilog="What stands behind -- goes to pytest as it is.",
            usage=f"yourai {command.name} [--FLAG ...] [-- PYTEST_ARGUMENT ...]",
        )
        add_flags(commands[command.name], command)
    for name, (text, add_own_flags) in _OWN_COMMANDS.items():
        commands[name] = subparsers.add_parser(name, help=text, description=f"{text}.")
        add_own_flags(commands[name])
    return parser, commands

"""The `yourai` command: what to do, and which of the modules beside does it."""

from __future__ import annotations

import importlib.metadata
import os
import sys
from collections.abc import Sequence

from pytest_yourai.cli.parser import INTERRUPTED_STATUS, Parser
from pytest_yourai.cli.pytest_flags import PYTEST_COMMANDS, add_flags, missing, pytest_arguments
from pytest_yourai.cli.show import SHOW_HELP, add_show_flags, show
from pytest_yourai.cli.train_flags import TRAIN_HELP, add_train_flags
from pytest_yourai.pytest_command import pytest_command, shown


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
    if given.command == "train":
        if unknown or rest:
            command_parser.error(f"{(unknown or rest)[0]} is no flag of training")
        # Imported here: --help must not wait for pydantic, psutil and yaml.
        from pytest_yourai.cli.train import train  # noqa: PLC0415

        return train(given)
    if given.command == "show":
        if unknown or rest:
            command_parser.error(f"{(unknown or rest)[0]} is no flag of yourai show")
        return show(given)
    if unknown:
        command_parser.error(f"{unknown[0]} is no flag of ours: put those of pytest behind --")
    command = next(each for each in PYTEST_COMMANDS if each.name == given.command)
    if lack := missing(command, given):
        command_parser.error(lack)
    _become_pytest(pytest_arguments(command, given, rest))
    return 0


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
    commands["train"] = subparsers.add_parser("train", help=TRAIN_HELP, description=TRAIN_HELP)
    add_train_flags(commands["train"])
    commands["show"] = subparsers.add_parser("show", help=SHOW_HELP, description=SHOW_HELP)
    add_show_flags(commands["show"])
    return parser, commands

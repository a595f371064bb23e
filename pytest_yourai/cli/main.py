"""The `yourai` command: what it runs, and the mistakes of a user as one sentence."""

from __future__ import annotations

import argparse
import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from pytest_yourai.cli.commands import NAMES, OF_PYTEST, OWN_BY_NAME, make_parsers
from pytest_yourai.cli.foreign_code import leave_foreign_code
from pytest_yourai.cli.mistakes import refuse_command, refuse_flags
from pytest_yourai.cli.parser import INTERRUPTED_STATUS, USAGE_STATUS, print_error
from pytest_yourai.cli.pytest_commands import invocation, take_models, without_prefix
from pytest_yourai.core.errors import InputError
from pytest_yourai.core.exiting import exit_quickly
from pytest_yourai.core.installed import import_installed
from pytest_yourai.core.sanitize import screen_text
from pytest_yourai.machine.descriptors import provide_descriptors
from pytest_yourai.machine.launch import check_alone
from pytest_yourai.plan.invocation import Invocation
from pytest_yourai.plan.short_commands import FIT, ShortCommand
from pytest_yourai.report.safe_stream import print_lines
from pytest_yourai.sweep.child_process import command_of_pytest, environment_of_pytest, shown

_FAILED_STATUS = 1


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command that `arguments` (those of the process) name; its exit status."""
    exit_quickly()
    try:
        return _run(list(sys.argv[1:] if arguments is None else arguments))
    except KeyboardInterrupt:
        return INTERRUPTED_STATUS
    except Exception:  # noqa: BLE001 - a mistake of ours: its traceback may have secrets
        print_lines(sys.stderr, *screen_text(traceback.format_exc()).splitlines())
        return _FAILED_STATUS


def _run(arguments: list[str]) -> int:
    end = arguments.index("--") if "--" in arguments else len(arguments)
    own, rest = arguments[:end], arguments[end + 1 :]
    name = own[0] if own else ""
    # Others are not made for one command: it starts faster.
    parser, parsers = make_parsers(name if name in NAMES else None)
    if not arguments:
        parser.print_help()
        return 0
    if name and not name.startswith("-") and name not in NAMES:
        refuse_command(parser, name, NAMES)
    if name in _SEES_FOLDER and not _has_folder():
        print_error(f"yourai {name}", "the current folder was removed: change to another")
        return USAGE_STATUS
    if name in OF_PYTEST:
        own = without_prefix(own)
    given, unknown = parser.parse_known_args(own)
    chosen, words = parsers[given.command], [each for each in unknown if not each.startswith("-")]
    # argparse takes a flag with a space in it for a positional argument.
    found = [*unknown, *getattr(given, "positional", ())]
    wrong = [each for each in found if each.startswith("-")]
    try:
        if given.command in OF_PYTEST:
            of_pytest = OF_PYTEST[given.command]
            refuse_flags(chosen, of_pytest.name, wrong, _otherwise(of_pytest))
            take_models(given, words)
            _prepare(given)
            _become_pytest(invocation(of_pytest, given, rest))
        command = OWN_BY_NAME[given.command]
        if command.take_model is None:
            wrong = unknown
        refuse_flags(chosen, command.name, wrong or rest, "see --help")
        if command.take_model is not None:
            command.found(command.take_model)(given, words)
        _prepare(given)
        status: int = command.found(command.function)(given)
    except InputError as problem:
        print_error(chosen.prog, str(problem))
        return USAGE_STATUS
    return status


def _otherwise(command: ShortCommand) -> str:
    """What to do about a flag that is like none of its own."""
    if command is FIT:
        return "nothing is run: leave it out, or see yourai fit --help"
    return "put flags of pytest after --"


_SEES_FOLDER = {"train", *OF_PYTEST}
"""Commands whose paths are seen from the current folder, and whose files go there."""


def _prepare(given: argparse.Namespace) -> None:
    """What comes before anything is read that others may have made."""
    check_alone(os.environ)
    provide_descriptors()
    leave_foreign_code(given)
    import_installed()


def _has_folder() -> bool:
    try:
        return bool(Path.cwd())
    except FileNotFoundError:
        return False


def _become_pytest(invocation: Invocation) -> NoReturn:
    """Replace this process by pytest, so that signals and exit status are its own."""
    print_lines(sys.stdout, shown(invocation.arguments))
    process = command_of_pytest(invocation.arguments)
    environment = environment_of_pytest() | invocation.variables()
    os.execve(process[0], process, environment)  # noqa: S606 - no shell is wanted

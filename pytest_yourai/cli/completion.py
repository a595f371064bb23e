"""`yourai completion`: a script that completes commands, flags and presets in a shell."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable

import shtab

from pytest_yourai.cli.commands import make_parsers
from pytest_yourai.core.paths import packaged_models
from pytest_yourai.models.presets import read_presets
from pytest_yourai.report.safe_stream import close_stream, print_lines

_FOLDERS = ("FOLDER", "PATH")

_FILES = {"FILE", "PROFILE"}


def completion(given: argparse.Namespace) -> int:
    """Print the script for a shell."""
    parser, parsers = make_parsers()
    models = _models(sorted(read_presets(packaged_models())))
    for each in parsers.values():
        for action in each._actions:  # noqa: SLF001 - argparse has no other list of them
            _complete(action, models)
    print_lines(sys.stdout, *shtab.complete(parser, given.shell).splitlines())
    close_stream(sys.stdout)
    return 0


def _complete(action: argparse.Action, models: shtab.CompleteType) -> None:
    """Say what the values of an argument are; help is hidden for what is shown elsewhere."""
    name = action.metavar if isinstance(action.metavar, str) else ""
    if action.dest in ("training", "passed"):
        action.help = ""
    if name in ("MODEL", "NAME") and action.dest in ("positional", "model", "yourai_model"):
        action.complete = models  # type: ignore[attr-defined]  # as shtab wants it
    elif _FILES & set(name.split("|")):
        action.complete = shtab.FILE  # type: ignore[attr-defined]
    elif name in _FOLDERS:
        action.complete = shtab.DIRECTORY  # type: ignore[attr-defined]
    elif "|" in name:
        action.choices = [word for word in name.split("|") if word.islower()]


def _models(presets: Iterable[str]) -> shtab.CompleteType:
    """Names of presets, and folders, in each shell."""
    words = " ".join(presets)
    return {
        "bash": "_yourai_models",
        "zsh": "_yourai_models",
        "fish": "(_yourai_models)",
        "preamble": {
            "bash": f'_yourai_models() {{\n  compgen -W "{words}" -- "$1"\n'
            '  compgen -d -- "$1"\n}\n',
            "zsh": f"_yourai_models() {{\n  compadd -- {words}\n  _files -/\n}}\n",
            "fish": "function _yourai_models\n"
            f"  printf '%s\\n' {words}\n  __fish_complete_directories\nend\n",
        },
    }

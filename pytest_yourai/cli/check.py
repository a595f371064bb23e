"""`yourai check`: whether shared files are what they should be."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from pathlib import Path

from pytest_yourai.cli.output import print_text
from pytest_yourai.core.errors import OptionError
from pytest_yourai.core.paths import is_folder
from pytest_yourai.core.sanitize import clean, json_text, screen_line
from pytest_yourai.core.units import plural
from pytest_yourai.store.shared.bounds import bounds_of
from pytest_yourai.store.shared.checks import Fault, read_faults

_FAULTY_STATUS = 1


def check(given: argparse.Namespace) -> int:
    """Print a line for each fault; 1 if there is one."""
    files = list(_files(given.sources))
    found = [(path, fault) for path in files for fault in read_faults(path, bounds_of)]
    if given.format == "json":
        print_text(_as_json(files, found))
    else:
        lines = [f"{path}: {fault}" for path, fault in found]
        count = f"{plural(len(files), 'file')}, {plural(len(found), 'fault')}"
        print_text("".join(f"{screen_line(each)}\n" for each in (*lines, count)))
    return _FAULTY_STATUS if found else 0


def _files(sources: Iterable[Path]) -> Iterable[Path]:
    """Files, and the JSON files in folders; OptionError for what is not there."""
    for path in sources:
        if is_folder(path):
            yield from sorted(each for each in path.rglob("*.json") if each.is_file())
        elif path.is_file():
            yield path
        else:
            raise OptionError(f"{path} is no file: name a shared file, or a folder of them")


def _as_json(files: list[Path], found: list[tuple[Path, Fault]]) -> str:
    faults = [
        {"file": str(path), "key": fault.key, "problem": fault.problem} for path, fault in found
    ]
    document = clean({"files": [str(path) for path in files], "faults": faults})
    return f"{json_text(document, indent=2)}\n"

"""Checkouts of the engine's packages on PYTHONPATH, wanted in place of installed ones.

A folder that merely has a file or folder of such a name is not one: a project may name its own
files as it likes.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pytest_yourai.core.installed import installed_folders
from pytest_yourai.core.opening import read_regular
from pytest_yourai.core.paths import is_folder, without_links

_PACKAGES = ("mlx", "mlx-lm", "transformers", "tokenizers", "datasets", "huggingface-hub")

_PROJECT_FILES = ("pyproject.toml", "setup.py", "setup.cfg")

_SOURCE_FOLDERS = ("src", "python")
"""Folders of a checkout that hold its packages, where it does not itself."""

_MOST_BYTES = 1 << 20

_VERSION = re.compile(r"^__version__\s*=\s*[\"']([\w.+!-]{1,64})[\"']", re.MULTILINE)


@dataclass(frozen=True)
class Checkout:
    """The package `name` as it lies in `folder`, an entry of a path of modules."""

    name: str
    folder: str

    @property
    def version(self) -> str:
        """What the source says, with a mark: its code may be any."""
        module = _module(self.folder, self.name)
        texts = (_text(module / each) for each in ("_version.py", "__init__.py"))
        found = next(filter(None, map(_VERSION.search, texts)), None)
        return f"{found[1] if found else '0'}+checkout"


def checkouts(entries: Iterable[str]) -> list[Checkout]:
    """The first checkout of each package: not of the current folder, which is no one's wish."""
    found: dict[str, Checkout] = {}
    for entry in entries:
        if entry and without_links(Path(entry)) != without_links(Path.cwd()):
            for name in _PACKAGES:
                if is_folder(_module(entry, name)) and _is_declared(entry, name):
                    found.setdefault(name, Checkout(name, entry))
    return list(found.values())


def trusted_folders(entries: list[str]) -> list[str]:
    """Those of `entries` that hold installed packages, or checkouts: no project's own modules."""
    kept = {*installed_folders(entries), *(each.folder for each in checkouts(entries))}
    return [entry for entry in entries if entry in kept]


def checkout_notes(entries: list[str]) -> Iterator[str]:
    """What PYTHONPATH has of the engine's packages, and whether that is used."""
    for each in checkouts(entries):
        yield f"{each.name} is that of {each.folder}, which is on PYTHONPATH"
    trusted = trusted_folders(entries)
    # Not by Path.exists, which raises where a name is too long.
    for entry in filter(None, entries):
        for name in ("mlx", "mlx-lm"):
            module = _module(entry, name)
            if entry not in trusted and os.path.exists(module / "__init__.py"):  # noqa: PTH110
                yield (
                    f"{module} is on PYTHONPATH and not used: to measure with it, put its checkout "
                    "with its pyproject.toml or setup.py there, or install it"
                )


def _module(entry: str, name: str) -> Path:
    return Path(entry) / name.replace("-", "_")


def _is_declared(entry: str, name: str) -> bool:
    """True if a file of the project has its name."""
    pattern = re.compile(
        rf"^\s*name\s*=\s*[\"']?{name.replace('-', '[-_.]')}[\"']?\s*,?\s*(?:#.*)?$",
        re.MULTILINE | re.IGNORECASE,
    )
    folder = without_links(Path(entry))
    top = folder.parent if folder.name in _SOURCE_FOLDERS else folder
    return any(pattern.search(_text(top / file)) for file in _PROJECT_FILES)


def _text(path: Path) -> str:
    with suppress(OSError, ValueError):
        return read_regular(path, _MOST_BYTES).decode()
    return ""


def path_entries(python_path: str | None) -> list[str]:
    """The entries of PYTHONPATH; an empty one is the current folder."""
    return [entry or os.curdir for entry in python_path.split(os.pathsep)] if python_path else []

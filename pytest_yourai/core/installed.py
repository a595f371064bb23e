"""Folders of installed packages, which a project's own files and folders must not hide."""

from __future__ import annotations

import contextlib
import importlib
import importlib.machinery
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from pytest_yourai.core.errors import OptionError

NEEDED = ("huggingface_hub", "numpy", "psutil", "pydantic", "rich", "safetensors", "yaml")
"""Packages that this one imports outside of workers, some of them late."""


def installed_folders(folders: Iterable[str]) -> list[str]:
    """Those of `folders` that hold installed packages, and not a project's own modules."""
    return [folder for folder in folders if folder and _has_distributions(Path(folder))]


def _has_distributions(folder: Path) -> bool:
    try:
        return any(folder.glob("*.dist-info"))
    except OSError:
        return False


def import_installed(names: Iterable[str] = NEEDED) -> None:
    """Import those of the packages `names` that a file or folder of the project would hide.

    OptionError where one is hidden already: something has imported the project's file.
    """
    find = importlib.machinery.PathFinder.find_spec
    folders = installed_folders(sys.path)
    for name in names:
        installed, visible = find(name, folders), find(name)
        if installed is None or visible is None:
            continue
        imported = sys.modules.get(name)
        if imported is not None:
            path = getattr(imported, "__file__", None)
            if path != installed.origin:
                raise OptionError(
                    f"{path or name} is imported in place of the installed package {name}: rename "
                    "it, or run pytest in another folder"
                )
        elif visible.origin != installed.origin:
            with _first_on_path(folders):
                importlib.import_module(name)


@contextlib.contextmanager
def _first_on_path(folders: list[str]) -> Iterator[None]:
    usual = sys.path[:]
    sys.path[:0] = folders
    try:
        yield
    finally:
        sys.path[:] = usual

"""Paths of the packaged data, and paths that a user wrote."""

from __future__ import annotations

import errno
import os
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent.parent

SUITE = PACKAGE / "suite" / "test_lora.py"

SOAK_SUITE = PACKAGE / "suite" / "test_soak.py"

SUITE_NODE_IDS = {
    SUITE: "pytest_yourai/suite/test_lora.py",
    SOAK_SUITE: "pytest_yourai/suite/test_soak.py",
}
"""Node ids of the packaged tests, the same from every folder."""


def cache_folder() -> Path:
    """The user's folder for what can be made again; it need not exist."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "pytest-yourai"


def matrices_folder() -> Path:
    """The folder of packaged matrices: in the package in a wheel, beside it if it is editable."""
    packaged = PACKAGE / "matrices"
    return packaged if packaged.is_dir() else PACKAGE.parent / "matrices"


def packaged_models() -> Path:
    """The packaged list of presets, the default of --yourai-models."""
    return matrices_folder() / "models.yaml"


def given_path(text: str, folder: Path) -> Path:
    """`text` as seen from `folder`; `~` is the home folder, unless the user has none.

    ValueError for a text that cannot be a path.
    """
    path = folder / os.path.expanduser(text)  # noqa: PTH111 - Path's own raises then
    if "\0" in text:
        raise ValueError("a path must have no null characters")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("it is not UTF-8, as MLX and JSON need it: rename it") from None
    try:
        path.lstat()
    except OSError as problem:
        if problem.errno == errno.ENAMETOOLONG:
            raise ValueError("it is too long for a path: shorten it") from None
    return path


def from_here(path: Path) -> Path:
    """`path` relative to the current folder if it is in it, else as it is."""
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path


def without_links(path: Path) -> Path:
    """The absolute path that `path` leads to, as far as that can be seen; loops stay."""
    # Before Python 3.13 Path.resolve raises for loops.
    return Path(os.path.realpath(path))


def is_folder(path: Path) -> bool:
    """True if `path` is a folder; False if it cannot be read, or its name is too long."""
    try:
        return path.is_dir()
    except OSError:
        return False

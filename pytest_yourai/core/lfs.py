"""Pointers of Git LFS: what a clone without Git LFS has in place of large files."""

from __future__ import annotations

from pathlib import Path

_BEGINNING = b"version https://git-lfs.github.com/spec/"

_MOST_BYTES = 1024
"""Of a pointer, by its specification."""


def is_pointer(path: Path) -> bool:
    """True if the regular file `path` is a pointer; False for whatever cannot be read."""
    try:
        if not path.is_file() or path.stat().st_size >= _MOST_BYTES:
            return False
        with path.open("rb") as file:
            return file.read(len(_BEGINNING)) == _BEGINNING
    except OSError:
        return False


def pointer_in(folder: Path, pattern: str) -> Path | None:
    """The first pointer among the files of `folder` that match; None without one."""
    return next(filter(is_pointer, sorted(folder.glob(pattern))), None)


def pointer_remedy(path: Path) -> str:
    """What is wrong with a pointer, and what to do."""
    return f"{path} is a pointer of Git LFS, not the file itself: run git lfs pull in {path.parent}"

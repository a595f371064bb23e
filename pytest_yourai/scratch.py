"""Temporary folders of which none stays for long, not even that of a process that was killed."""

from __future__ import annotations

import contextlib
import fcntl
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

_LOCK = ".lock"


@contextlib.contextmanager
def scratch_folder(prefix: str) -> Iterator[str]:
    """A new temporary folder, removed at the end; those of `prefix` without an owner go now."""
    _remove_left_behind(prefix)
    with tempfile.TemporaryDirectory(prefix=prefix) as name:
        unlocked = Path(name, f"{_LOCK}.new")
        with unlocked.open("w") as lock:
            # It gets its name when it is locked: without one nobody takes the folder for left.
            fcntl.flock(lock, fcntl.LOCK_EX)
            unlocked.rename(unlocked.with_name(_LOCK))
            yield name


def _remove_left_behind(prefix: str) -> None:
    """The kernel releases the locks of a process that ends, however it ends."""
    for path in Path(tempfile.gettempdir()).glob(f"{prefix}*/{_LOCK}"):
        with contextlib.suppress(OSError), path.open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(path.parent)

"""Writing files so that the old one or the new one is there, never a part."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from pytest_yourai.errors import OutputError

TEMPORARY_PREFIX = ".yourai-"


def write_atomically(path: Path, text: str, named_by: str) -> None:
    """Put `text`, as UTF-8, into the place of what is there.

    A symbolic link is followed, and the mode of an old file kept. OutputError where that fails;
    it begins with `named_by`, the flag that names the file.
    """
    target = path.resolve()
    try:
        handle, name = tempfile.mkstemp(prefix=TEMPORARY_PREFIX, dir=target.parent)
        temporary = Path(name)
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            temporary.chmod(target.stat().st_mode if target.exists() else _usual_mode())
            temporary.replace(target)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
    except OSError as problem:
        raise _unwritable(path, problem, named_by) from None


def check_writable(path: Path, named_by: str) -> None:
    """Raise OutputError now where `write_atomically` would raise it after the last trial."""
    target = path.resolve()
    if target.exists() and not target.is_file():
        raise OutputError(f"{named_by}: {path} is no regular file: name another one")
    try:
        with tempfile.NamedTemporaryFile(prefix=TEMPORARY_PREFIX, dir=target.parent):
            pass
    except OSError as problem:
        raise _unwritable(path, problem, named_by) from None


def _unwritable(path: Path, problem: OSError, named_by: str) -> OutputError:
    return OutputError(
        f"{named_by}: {path} cannot be written: {problem.strerror}; name another file"
    )


def _usual_mode() -> int:
    """The mode of a new file, which can only be read by setting it."""
    mask = os.umask(0o077)
    os.umask(mask)
    return 0o666 & ~mask

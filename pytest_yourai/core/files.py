"""Atomic files, temporary folders, and JSON documents."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pytest_yourai.core.errors import OutputError, RecordingError
from pytest_yourai.core.sanitize import all_printable, clean

TEMPORARY_PREFIX = ".yourai-"


def write_atomically(path: Path, text: str, named_by: str) -> None:
    """Replace the file `path` with `text` in UTF-8: it is old or new at any time, never partial.

    A symbolic link is followed, and the mode of an old file kept. OutputError, which begins with
    `named_by`, the flag that names the file, if that fails.
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
    """Raise OutputError if `write_atomically` could not write `path`."""
    target = path.resolve()
    if target.exists() and not target.is_file():
        raise OutputError(f"{named_by}: {path} is not a regular file: name another one")
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


_OF_THE_OWNER = 0o600


def keep_private(fd: int) -> None:
    """Let nobody but its owner read the open file `fd`, whatever the umask; as before if less."""
    mode = stat.S_IMODE(os.fstat(fd).st_mode)
    with contextlib.suppress(PermissionError):  # it is somebody else's
        os.fchmod(fd, mode & _OF_THE_OWNER or _OF_THE_OWNER)


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


_DEEPEST = 50
"""Levels of lists and objects in each other: far more than any profile has."""


def read_document(path: Path) -> Mapping[str, Any]:
    """The JSON object in `path`; RecordingError, naming the file, for everything else."""
    try:
        document = all_printable(json.loads(path.read_text(encoding="utf-8-sig")))
    except OSError as problem:
        raise RecordingError(f"{path} cannot be read: {problem.strerror}; name a profile") from None
    except (ValueError, RecursionError) as problem:
        raise RecordingError(f"{path} is not JSON: {problem}; name a profile") from None
    if not isinstance(document, dict):
        raise RecordingError(
            f"{path} is not a profile: it must have the keys model and all_results"
        )
    if _is_deeper(document, _DEEPEST):
        raise RecordingError(
            f"{path} is not a profile: it is nested more than {_DEEPEST} levels deep; name another"
        )
    return document


def _is_deeper(value: Any, levels: int) -> bool:
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return bool(items) and (levels == 0 or any(_is_deeper(item, levels - 1) for item in items))


def check_version(document: Mapping[str, Any], known: int, name: str) -> int:
    """The `schema_version`, 0 if it has none; RecordingError for one after `known`."""
    version = document.get("schema_version", 0)
    if not isinstance(version, int) or isinstance(version, bool) or version < 0:
        raise RecordingError(f"{name}: schema_version: it must be a whole number")
    if version > known:
        raise RecordingError(
            f"{name}: schema_version: {version} is newer than {known}, which this version knows: "
            "update pytest-yourai, or name another profile"
        )
    return version


def mapping(value: Any) -> Mapping[str, Any]:
    """`value` if it is a JSON object, else an empty one."""
    return value if isinstance(value, dict) else {}


def write_json(path: Path, document: Mapping[str, Any], flag: str) -> None:
    """Write a JSON file atomically; numbers that are not finite become null. Errors name `flag`."""
    text = json.dumps(clean(document), indent=2, allow_nan=False)
    write_atomically(path, f"{text}\n", flag)

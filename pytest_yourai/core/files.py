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

from pytest_yourai.core.digest import has_changed, with_digest
from pytest_yourai.core.errors import OutputError, RecordingError
from pytest_yourai.core.opening import open_regular, read_regular, real_path
from pytest_yourai.core.sanitize import all_printable, clean, is_plain_json, json_text

TEMPORARY_PREFIX = ".yourai-"


def write_atomically(path: Path, text: str, named_by: str) -> None:
    """Replace the file `path` with `text` in UTF-8: it is old or new at any time, never partial.

    A symbolic link of the user's own is followed, and the mode of the user's old file kept.
    OutputError, which begins with `named_by`, the flag that names the file, if that fails.
    """
    try:
        target = real_path(path)
        handle, name = tempfile.mkstemp(prefix=TEMPORARY_PREFIX, dir=target.parent)
        temporary = Path(name)
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(text)
            temporary.chmod(_mode_kept(target))
            put_in_place(temporary, target)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
    except OSError as problem:
        raise _unwritable(path, problem, named_by) from None


def put_in_place(temporary: Path, target: Path) -> None:
    """Rename a finished file, so that it and its new name survive a crash of the machine."""
    with temporary.open("rb") as file:
        os.fsync(file.fileno())
    temporary.replace(target)
    sync_folder(target.parent)


def sync_folder(folder: Path) -> None:
    """Put the names in a folder on the disk, where its file system can."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def check_writable(path: Path, named_by: str) -> None:
    """Raise OutputError if `write_atomically` could not write `path`."""
    try:
        target = real_path(path)
        if os.path.lexists(target) and not stat.S_ISREG(target.lstat().st_mode):
            raise OutputError(f"{named_by}: {path} is not a regular file: name another one")
        with tempfile.NamedTemporaryFile(prefix=TEMPORARY_PREFIX, dir=target.parent):
            pass
    except OSError as problem:
        raise _unwritable(path, problem, named_by) from None


def _unwritable(path: Path, problem: OSError, named_by: str) -> OutputError:
    return OutputError(
        f"{named_by}: {path} cannot be written: {problem.strerror}; name another file"
    )


def _mode_kept(target: Path) -> int:
    """The mode of the user's file that is replaced; another user's says nothing."""
    try:
        found = target.lstat()
    except FileNotFoundError:
        return usual_mode()
    return stat.S_IMODE(found.st_mode) if found.st_uid == os.geteuid() else usual_mode()


def usual_mode() -> int:
    """The mode of a new file, which can only be read by setting it."""
    mask = os.umask(0o077)
    os.umask(mask)
    return 0o666 & ~mask


_OF_THE_OWNER = 0o600


def keep_private(fd: int) -> None:
    """Let nobody but its owner read the open file `fd`, whatever the umask; as before if less."""
    mode = stat.S_IMODE(os.fstat(fd).st_mode)
    with contextlib.suppress(OSError):  # it is another user's, or there are no modes
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
    """The kernel releases the locks of a process that ends, however it ends.

    All may write to the temporary folder: what another user has put there is left alone.
    """
    for path in Path(tempfile.gettempdir()).glob(f"{prefix}*"):
        with contextlib.suppress(OSError):
            found = path.lstat()
            if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
                continue
            fd = open_regular(path / _LOCK, os.O_RDONLY)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(path)
            finally:
                os.close(fd)


_DEEPEST = 50
"""Levels of lists and objects in each other: far more than any profile has."""


def read_document(path: Path, *, checks_digest: bool = True) -> Mapping[str, Any]:
    """The JSON object in `path`; RecordingError, naming the file, for everything else.

    Also for a file with the digest of another; without `checks_digest`, it takes a third less time.
    """
    text = ""
    try:
        text = read_regular(path).decode("utf-8-sig")
        parsed = parse_json(text)
        is_changed = checks_digest and isinstance(parsed, dict) and has_changed(parsed)
        document = parsed if is_plain_json(text) else all_printable(parsed)
    except OSError as problem:
        raise RecordingError(f"{path} cannot be read: {problem.strerror}; name a profile") from None
    except (ValueError, RecursionError) as problem:
        if _is_journal(text):
            raise RecordingError(
                f"{path} is a journal, not a profile: name the profile of its run"
            ) from None
        raise RecordingError(f"{path} is not JSON: {problem}; name a profile") from None
    if not isinstance(document, dict):
        raise RecordingError(
            f"{path} is not a profile: it must have the keys model and all_results"
        )
    if is_changed:
        raise RecordingError(
            f"{path}: digest: the file was changed after it was written: name another copy, or "
            "remove the key digest if the change was meant"
        )
    if _is_deeper(document, _DEEPEST):
        raise RecordingError(
            f"{path} is not a profile: it is nested more than {_DEEPEST} levels deep; name another"
        )
    return document


def parse_json(text: str | bytes) -> Any:
    """`text` as JSON; ValueError for what is none, and for whole numbers of endless digits."""
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        raise
    except ValueError:
        return json.loads(text, parse_int=_whole)


def _whole(digits: str) -> int:
    try:
        return int(digits)
    except ValueError:
        # Python's own words are for those who can change its limit.
        count = len(digits.lstrip("-"))
        raise ValueError(f"a number has {count:,} digits") from None


_NESTED = (dict, list)


def _is_deeper(value: Any, levels: int) -> bool:
    layer = [value]
    for _ in range(levels + 1):
        layer = [
            item
            for each in layer
            for item in (each.values() if isinstance(each, dict) else each)
            if isinstance(item, _NESTED)
        ]
        if not layer:
            return False
    return any(layer)


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
    """Write a JSON file with its digest, atomically. Errors name `flag`.

    Numbers that are not finite become null.
    """
    text = json_text(with_digest(clean(document)), indent=2)
    write_atomically(path, f"{text}\n", flag)


def _is_journal(text: str) -> bool:
    """True if `text` begins with a line that is an event of a journal."""
    first, newline, _ = text.partition("\n")
    try:
        event = parse_json(first) if newline else None
    except (ValueError, RecursionError):
        return False
    return isinstance(event, dict) and "event" in event

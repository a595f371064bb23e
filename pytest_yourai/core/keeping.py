"""Old files that make room for new ones: kept under a dated name, never lost and never half."""

from __future__ import annotations

import contextlib
import datetime
import fcntl
import hashlib
import itertools
import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

from pytest_yourai.core.errors import OutputError
from pytest_yourai.core.files import TEMPORARY_PREFIX, sync_folder, write_atomically
from pytest_yourai.core.opening import read_regular, real_path

YAML_COMMENT, HTML_COMMENT = ("# ", ""), ("<!-- ", " -->")
"""The beginning and the end of a comment; Markdown has that of HTML."""

_SEAL = "made by pytest-yourai, sha256 of all above: "
"""By this line a file shows that nobody has changed it: it may make room for a newer one."""

_SEALED = re.compile(
    rf"(?P<body>.*\n)(?:# |<!-- ){_SEAL}(?P<digest>[0-9a-f]+)(?: -->)?\n", re.DOTALL
)


@contextlib.contextmanager
def sole_writer(path: Path) -> Iterator[None]:
    """While this lasts, other processes that ask for the same wait to write beside `path`.

    Nobody waits where the file system has no locks.
    """
    try:
        fd = os.open(real_path(path).parent, os.O_RDONLY | os.O_DIRECTORY)
    except OSError:
        yield
        return
    try:
        with contextlib.suppress(OSError):
            fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def keep_aside(path: Path, made_at: datetime.datetime | None, named_by: str) -> Path:
    """Give the file `path` a second, dated name, and return that; it also stays where it is.

    `made_at` is the date, else that of the file. OutputError, beginning with `named_by`, if that
    fails: the file must then not be replaced.
    """
    try:
        target = real_path(path)
        content = read_regular(target)
        at = made_at or datetime.datetime.fromtimestamp(target.stat().st_mtime, datetime.UTC)
        for name in _names(path, at):
            if _write_new(target.parent / name, content):
                sync_folder(target.parent)
                return path.with_name(name)
    except OSError as problem:
        raise OutputError(
            f"{named_by}: {path} is not replaced, because it cannot be kept under another name: "
            f"{problem.strerror}; name another file"
        ) from None
    raise AssertionError  # the names have no end


def _names(path: Path, at: datetime.datetime) -> Iterator[str]:
    """`profile-2026-11-28-071955.json`, then with numbers."""
    dated = f"{path.stem}-{at:%Y-%m-%d-%H%M%S}"
    yield f"{dated}{path.suffix}"
    yield from (f"{dated}-{number}{path.suffix}" for number in itertools.count(2))


def _write_new(path: Path, content: bytes) -> bool:
    """Write the whole file or none; False if the name is taken by another content."""
    if os.path.lexists(path):
        return path.is_file() and not path.is_symlink() and read_regular(path) == content
    handle, name = tempfile.mkstemp(prefix=TEMPORARY_PREFIX, dir=path.parent)
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        return _rename_new(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_new(path: Path, text: str, named_by: str) -> None:
    """Write a file that is not there yet, or is there with this content already.

    OutputError, which begins with `named_by`, if the name is taken, or that fails.
    """
    try:
        with sole_writer(path):
            is_written = _write_new(real_path(path.parent) / path.name, text.encode())
    except OSError as problem:
        raise OutputError(
            f"{named_by}: {path} cannot be written: {problem.strerror}; name another file"
        ) from None
    if not is_written:
        raise OutputError(f"{named_by}: {path} is there already: name another file")


def _rename_new(temporary: Path, path: Path) -> bool:
    """Give a file a name that no other has; False if one has it by now."""
    try:
        os.link(temporary, path)
    except FileExistsError:
        return False
    except OSError:
        # A file system without hard links; others that write here wait in `sole_writer`.
        temporary.rename(path)
    return True


def write_sealed(path: Path, text: str, named_by: str, comment: tuple[str, str]) -> Path | None:
    """Write `text`, and a `comment` as its last line, by which a change by hand is noticed.

    A file there that this program has not written, or that was changed since, is kept under the
    dated name that is returned. OutputError, which begins with `named_by`, if that fails.
    """
    with sole_writer(path):
        kept = None
        if _has_work_of_others(path):
            kept = keep_aside(path, None, named_by)
        begin, end = comment
        body = text if text.endswith("\n") else f"{text}\n"
        write_atomically(path, f"{body}{begin}{_SEAL}{_digest(body)}{end}\n", named_by)
        return kept


def _has_work_of_others(path: Path) -> bool:
    """True if a file is there that may hold more than this program has written."""
    try:
        if not os.path.lexists(path) or path.stat().st_size == 0:
            return False
        text = read_regular(path).decode()
    except FileNotFoundError:
        return False  # a link to a file that is not there yet
    except (OSError, UnicodeDecodeError):
        return True
    seal = _SEALED.fullmatch(text)
    return seal is None or seal["digest"] != _digest(seal["body"])


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]

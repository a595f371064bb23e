"""The journal: one JSON object a line, on the disk before the next thing happens.

Each line is one `os.write` where the disk has room, followed by an fsync, so that a crash of the
machine tears at most the last line. A lock on the file refuses a second sweep.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from pathlib import Path
from typing import Any, Protocol

import psutil

from pytest_yourai.core.digest import checked_line, line_has_changed
from pytest_yourai.core.errors import OutputError
from pytest_yourai.core.files import keep_private, mapping, sync_folder
from pytest_yourai.core.opening import displaced, open_regular
from pytest_yourai.core.sanitize import clean, json_text

_TAIL_BYTES = 1 << 20

_MOST_PIDS = 1 << 31

_BEGINNINGS = ("benchmark_start", "training_start")
"""The events that have the pid of the run that holds the file."""


class EventLog(Protocol):
    """A log of events. `problem` says why it is not complete where it should be, if it is not."""

    @property
    def problem(self) -> str | None: ...

    def write(self, event: str, /, **fields: Any) -> None: ...


class TaggedLog:
    """Adds `tags` to every event of another log; writes nothing where that is None."""

    def __init__(self, log: EventLog | None = None, **tags: Any) -> None:
        self._log = log
        self._tags = tags

    @property
    def problem(self) -> str | None:
        return self._log.problem if self._log is not None else None

    def write(self, event: str, /, **fields: Any) -> None:
        if self._log is not None:
            self._log.write(event, **self._tags, **fields)


class Journal:
    """An open, locked journal file, appended to.

    OutputError, which calls the file `named`, where it cannot be written or another run holds it.
    Only its owner may read it, since what workers print is in it. When the disk fills up later, it
    stops, and the run goes on: the profile may still be written. Where the file was moved, removed
    or cut it goes on itself, with a `problem`.
    `note` is one for people where the file system has no locks, so that nothing is refused.
    """

    def __init__(self, path: Path, named: str = "--yourai-log", run: str = "sweep") -> None:
        self.path = path
        self.problem: str | None = None
        self.note: str | None = None
        self._run = run
        self._is_stopped = False
        self._size_bytes = 0
        try:
            self._fd = open_regular(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
            keep_private(self._fd)
        except OSError as problem:
            raise OutputError(
                f"{named}: {path} cannot be written: {problem.strerror}; name another file"
            ) from None
        try:
            unlocked = _lock(self._fd)
        except BlockingIOError:
            holder = _holder(self._fd)
            os.close(self._fd)
            raise OutputError(
                f"{named}: {path} is in use by another {run}{holder}: wait for it, or name "
                "another file"
            ) from None
        if unlocked is not None:
            self.note = (
                f"{path} cannot be locked here ({unlocked}): start no other {run} that writes to it"
            )
        sync_folder(path.parent)
        try:
            self._end_torn_line()
        except OSError as problem:
            os.close(self._fd)
            raise OutputError(
                f"{named}: {path} cannot be written on: {problem.strerror}; make room, or "
                "name another file"
            ) from None

    def write(self, event: str, /, **fields: Any) -> None:
        """Append an event, and wait until it is on the disk."""
        if self._is_stopped:
            return
        self._look()
        values = {"timestamp": time.time(), "event": event, **clean(fields)}
        data = memoryview(checked_line(json_text(values)))
        try:
            if os.fstat(self._fd).st_size < self._size_bytes:
                self._end_torn_line()
            while data:
                data = data[os.write(self._fd, data) :]
            os.fsync(self._fd)
            self._size_bytes = os.fstat(self._fd).st_size
        except OSError as problem:
            self.problem = f"{self.path} could not be written on: {problem.strerror}"
            self._is_stopped = True

    def close(self, *, keep_empty: bool = True) -> None:
        """Close the file; the lock goes with it, and an empty file unless it is kept."""
        if self._fd >= 0:
            self._look()
            if not keep_empty and os.fstat(self._fd).st_size == 0:
                self.path.unlink(missing_ok=True)
            os.close(self._fd)
            self._fd = -1

    def _look(self) -> None:
        """Note what happened to the file since the last event."""
        if self.problem is None and (event := displaced(self._fd, self.path, self._size_bytes)):
            self.problem = f"{self.path} {event} while the {self._run} ran"

    def _end_torn_line(self) -> None:
        size = os.fstat(self._fd).st_size
        if size and os.pread(self._fd, 1, size - 1) != b"\n":
            os.write(self._fd, b"\n")
        self._size_bytes = os.fstat(self._fd).st_size


def _lock(fd: int) -> str | None:
    """Lock a file for this process; why that cannot be done here, None where it is.

    BlockingIOError where another process holds it, or has just removed it.
    """
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise
    except OSError as problem:
        # Some network and FUSE file systems have no locks.
        return problem.strerror
    if os.fstat(fd).st_nlink == 0:
        raise BlockingIOError
    return None


def _holder(fd: int) -> str:
    """The process of the last run that has begun, in words, if it still lives."""
    size = os.fstat(fd).st_size
    tail = os.pread(fd, _TAIL_BYTES, max(0, size - _TAIL_BYTES))
    for line in reversed(tail.splitlines()):
        try:
            event = mapping({} if line_has_changed(line) else json.loads(line))
        except ValueError:
            continue
        if event.get("event") in _BEGINNINGS:
            pid = event.get("pid")
            if isinstance(pid, int) and 0 < pid < _MOST_PIDS and psutil.pid_exists(pid):
                return f" (process {pid})"
            break
    return ""

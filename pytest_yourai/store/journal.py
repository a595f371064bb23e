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

from pytest_yourai.errors import OutputError
from pytest_yourai.store.clean import clean

_TAIL_BYTES = 1 << 20


class EventLog(Protocol):
    """Where a sweep writes what happens. `problem` says why it stopped, if it did."""

    problem: str | None

    def write(self, event: str, /, **fields: Any) -> None: ...

    def close(self) -> None: ...


class NoJournal:
    """Writes nothing: for a process that only looks."""

    problem: str | None = None

    def write(self, event: str, /, **fields: Any) -> None:
        pass

    def close(self) -> None:
        pass


class Journal:
    """An open, locked journal file, appended to.

    OutputError where it cannot be written or another sweep holds it. When the disk fills up later,
    it stops, and the sweep goes on: the profile may still be written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.problem: str | None = None
        if path.exists() and not path.is_file():
            raise OutputError(f"--yourai-log: {path} is no regular file: name another one")
        try:
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        except OSError as problem:
            raise OutputError(
                f"--yourai-log: {path} cannot be written: {problem.strerror}; name another file"
            ) from None
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            holder = _last_pid(self._fd)
            os.close(self._fd)
            raise OutputError(
                f"--yourai-log: {path} is in use by another sweep{holder}: wait for it, or name "
                "another file"
            ) from None
        try:
            self._end_torn_line()
        except OSError as problem:
            os.close(self._fd)
            raise OutputError(
                f"--yourai-log: {path} cannot be written on: {problem.strerror}; make room, or "
                "name another file"
            ) from None

    def write(self, event: str, /, **fields: Any) -> None:
        """Append an event, and wait until it is on the disk."""
        if self.problem is not None:
            return
        if os.fstat(self._fd).st_nlink == 0:
            self.problem = f"{self.path} was removed while the sweep ran"
            return
        values = clean({"timestamp": time.time(), "event": event, **fields})
        data = memoryview(json.dumps(values, allow_nan=False).encode() + b"\n")
        try:
            while data:
                data = data[os.write(self._fd, data) :]
            os.fsync(self._fd)
        except OSError as problem:
            self.problem = f"{self.path} could not be written on: {problem.strerror}"

    def close(self) -> None:
        """Close the file; the lock goes with it."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _end_torn_line(self) -> None:
        size = os.fstat(self._fd).st_size
        if size and os.pread(self._fd, 1, size - 1) != b"\n":
            os.write(self._fd, b"\n")


def _last_pid(fd: int) -> str:
    size = os.fstat(fd).st_size
    tail = os.pread(fd, _TAIL_BYTES, max(0, size - _TAIL_BYTES))
    for line in reversed(tail.splitlines()):
        try:
            event = json.loads(line)
        except ValueError:
            continue
        if isinstance(event, dict) and event.get("event") == "benchmark_start":
            return f" (process {event.get('pid')})"
    return ""

"""Printing that must not end what it tells of: where nobody reads any more it is left alone."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from typing import IO, cast


def safe_stream(stream: IO[str] | None) -> IO[str]:
    """`stream`, with writes that never fail; None is one that is gone already.

    What its encoding does not have becomes a question mark.
    """
    return stream if isinstance(stream, _LastingStream) else cast("IO[str]", _LastingStream(stream))


def close_stream(stream: IO[str] | None) -> None:
    """At the end of a process: Python would fail over what cannot be flushed even then."""
    if stream is None:
        return
    try:
        stream.flush()
    except (OSError, ValueError):
        _forget(stream)


def open_missing_streams() -> None:
    """Open those of stdin, stdout and stderr that are closed on nothing.

    Else the next files that are opened would take their places, and get what is printed.
    """
    while (opened := os.open(os.devnull, os.O_RDWR)) <= _STDERR:
        os.set_inheritable(opened, True)
    os.close(opened)


_STDERR = 2


class _LastingStream:
    def __init__(self, stream: IO[str] | None) -> None:
        self._stream = stream
        self.encoding = getattr(stream, "encoding", None) or "utf-8"

    def write(self, text: str) -> int:
        known = text.encode(self.encoding, "replace").decode(self.encoding)
        self._try(lambda stream: stream.write(known))
        return len(text)

    def flush(self) -> None:
        self._try(lambda stream: stream.flush())

    def isatty(self) -> bool:
        try:
            return self._stream is not None and self._stream.isatty()
        except ValueError:  # it is closed
            return False

    def fileno(self) -> int:
        if self._stream is None:
            raise OSError("nobody reads any more")
        return self._stream.fileno()

    def _try(self, act: Callable[[IO[str]], object]) -> None:
        if self._stream is None:
            return
        try:
            act(self._stream)
        except (BrokenPipeError, ValueError):  # the latter where it is closed
            _forget(self._stream)
            self._stream = None
        except OSError:  # a full disk, which may have room again
            return


def _forget(stream: IO[str]) -> None:
    """Let what is still buffered, and all that is printed later, go nowhere."""
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)

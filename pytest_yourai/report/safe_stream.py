"""Streams that ignore a closed pipe: output must not end the work that it reports on."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from typing import IO, cast

from pytest_yourai.core.sanitize import screen_line
from pytest_yourai.report.styles import has_color, painted


def safe_stream(stream: IO[str] | None) -> IO[str]:
    """`stream` with writes that never fail; None stands for a stream that is closed already.

    Characters that its encoding lacks become question marks.
    """
    return stream if isinstance(stream, _SafeStream) else cast("IO[str]", _SafeStream(stream))


def print_lines(stream: IO[str] | None, *lines: str) -> None:
    """Print `lines`, each fit for a screen, on a stream that may be closed."""
    safe = safe_stream(stream)
    shown = [(line, screen_line(line)) for line in lines]
    paint = painted if has_color(safe) else _plain
    text = "".join(f"{paint(line, text)}\n" for line, text in shown)
    safe.write(text)
    safe.flush()


def _plain(_: str, text: str) -> str:
    return text


def close_stream(stream: IO[str] | None) -> None:
    """Flush at the end of a process, or drop what is buffered: Python would fail over it."""
    if stream is None:
        return
    try:
        stream.flush()
    except (OSError, ValueError):
        _discard_output(stream)


def open_missing_streams() -> None:
    """Open those of stdin, stdout and stderr that are closed on the null device.

    Otherwise the next files that are opened would take their numbers, and receive the output.
    """
    while (opened := os.open(os.devnull, os.O_RDWR)) <= _STDERR:
        os.set_inheritable(opened, True)
    os.close(opened)


_STDERR = 2


class _SafeStream:
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
            raise OSError("the stream is closed")
        return self._stream.fileno()

    def _try(self, act: Callable[[IO[str]], object]) -> None:
        if self._stream is None:
            return
        try:
            act(self._stream)
        except (BrokenPipeError, ValueError):  # the latter where it is closed
            _discard_output(self._stream)
            self._stream = None
        except OSError:  # a full disk, which may have room again
            return


def _discard_output(stream: IO[str]) -> None:
    """Send buffered and later output of `stream` to the null device."""
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)

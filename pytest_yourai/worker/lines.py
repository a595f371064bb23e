"""Lines of what comes in pieces, from a pipe or a socket."""

from __future__ import annotations

from pytest_yourai.core.errors import WorkerError

_LONGEST_LINE_BYTES = 1 << 24


class Lines:
    """Cuts what comes in pieces into whole lines."""

    def __init__(self) -> None:
        self._partial = b""

    def add(self, data: bytes) -> list[bytes]:
        """The lines that are whole now. WorkerError where one has no end."""
        *lines, self._partial = (self._partial + data).split(b"\n")
        if len(self._partial) > _LONGEST_LINE_BYTES:
            raise WorkerError("the worker sent a message without end")
        return lines

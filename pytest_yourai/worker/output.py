"""What a worker prints: its end is kept, without colours and without secrets."""

from __future__ import annotations

import re
from dataclasses import dataclass

from pytest_yourai.redaction import redactor

_KEPT_BYTES = 1 << 16

_TERMINAL_CODES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
"""Colours and cursor movements: mlx-lm prints them into pipes too."""

_CUT_WORD = re.compile(r"\A\S*")


@dataclass(frozen=True, slots=True)
class Output:
    """The end of what the worker printed since it was last asked."""

    stdout: str
    stderr: str


class Tail:
    """The last 64 KiB of a stream."""

    def __init__(self) -> None:
        self._data = bytearray()
        self._is_cut = False

    def add(self, data: bytes) -> None:
        self._data += data
        if len(self._data) > _KEPT_BYTES:
            self._is_cut = True
            del self._data[:-_KEPT_BYTES]

    def take(self) -> str:
        """What was added since the last time."""
        text = self._data.decode(errors="replace")
        if self._is_cut:
            # It could be the rest of a token, which nobody would recognise.
            text = _CUT_WORD.sub("", text)
        self._data.clear()
        self._is_cut = False
        return redactor()(_TERMINAL_CODES.sub("", text))

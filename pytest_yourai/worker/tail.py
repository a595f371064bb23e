"""The end of a stream of output."""

from __future__ import annotations

import re

from pytest_yourai.core.redaction import redactor
from pytest_yourai.core.sanitize import without_controls

_KEPT_BYTES = 1 << 16

_CUT_WORD = re.compile(r"\A\S*")


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
        """The text that was added since this was last called."""
        text = self._data.decode(errors="replace")
        if self._is_cut:
            # It could be the rest of a secret, which the redactor would not recognise.
            text = _CUT_WORD.sub("", text)
        self._data.clear()
        self._is_cut = False
        # First the colours, which mlx-lm prints into pipes too: they may part a secret.
        return redactor()(without_controls(text))

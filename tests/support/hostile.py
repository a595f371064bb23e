"""Text that would command a terminal or a CI service, and a look at what came of it."""

from __future__ import annotations

import re
import unicodedata

HOSTILE = (
    "evil\n::error::one\r##[error]two ::stop-commands::x ##vso[task]three"
    "\x1b]0;title\x07\x1b]52;c;Y2xpcA==\x1b\\\x1b[31m\x9b2J\x07\x08\x7f\u202e\u2066'\"$(id)`id`"
)
"""The name of a file, and what a worker prints. Nothing but bytes and `/` is forbidden there."""

_COMMANDS = re.compile(
    r"^\s*::[a-z-]+(?:\s[^:]*)?::|::(?:error|stop-commands)(?:\s|::)|##\w*\[",
    re.MULTILINE | re.IGNORECASE,
)

_HARMLESS = "\n\t"


def dangers_in(raw: bytes, *, allowed: str = _HARMLESS) -> list[str]:
    """Control characters, changes of direction, and commands in the bytes of an output or file."""
    text = raw.decode("utf-8")
    found = {
        ascii(each)
        for each in text
        if unicodedata.category(each) in ("Cc", "Cf", "Zl", "Zp") and each not in allowed
    }
    return sorted({*found, *_COMMANDS.findall(text)})

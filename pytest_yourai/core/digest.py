"""Digests in JSON documents and lines, by which a reader notices that a bit was changed."""

from __future__ import annotations

import hashlib
import json
import re
import zlib
from collections.abc import Mapping
from typing import Any

DIGEST = "digest"
"""The key of the digest of all other keys, in a document that is a JSON object."""

_LINE_CHECK = re.compile(rb', "crc32": "([0-9a-f]{8})"\}\s*\Z')


def digest_of(document: Mapping[str, Any]) -> str:
    """The digest of `document`, however a file lays it out, and a JSON tool spells its numbers."""
    rest = {key: _plain(value) for key, value in document.items() if key != DIGEST}
    text = json.dumps(rest, sort_keys=True, separators=(",", ":"))
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


def with_digest(document: Mapping[str, Any]) -> dict[str, Any]:
    """`document` and the digest of it."""
    return {**document, DIGEST: digest_of(document)}


def has_changed(document: Mapping[str, Any]) -> bool:
    """True if `document` has the digest of another; without one, as older files, nobody knows."""
    found = document.get(DIGEST)
    return found is not None and found != digest_of(document)


_AS_THEY_ARE = frozenset((str, int, bool, type(None)))
"""Types of most values: a call for each of them would take longer than all the rest."""


def _plain(value: Any) -> Any:
    """`value` with 20 for 20.0: jq, and whatever has JavaScript's numbers, writes both alike."""
    if isinstance(value, float):
        return int(value) if value.is_integer() else value
    if isinstance(value, dict):
        return {
            key: item if type(item) in _AS_THEY_ARE else _plain(item) for key, item in value.items()
        }
    if not isinstance(value, list | tuple):
        return value
    return [
        item
        if type(item) in _AS_THEY_ARE or (type(item) is float and not item.is_integer())
        else _plain(item)
        for item in value
    ]


def checked_line(text: str) -> bytes:
    """`text`, a JSON object, as a line whose last key is the CRC of the object without it."""
    return f'{text[:-1]}, "crc32": "{zlib.crc32(text.encode()):08x}"}}\n'.encode()


def line_has_changed(line: bytes) -> bool:
    """True if `line` has the CRC of another; without one, as older lines, nobody knows."""
    found = _LINE_CHECK.search(line)
    return found is not None and zlib.crc32(line[: found.start()] + b"}") != int(found[1], 16)

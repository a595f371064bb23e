"""JSON documents as they are read: what every one of them must be, before its keys matter."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pytest_yourai.errors import RecordingError
from pytest_yourai.printable import all_printable

_DEEPEST = 50
"""Levels of lists and objects in each other: far more than any profile has."""


def read_document(path: Path) -> Mapping[str, Any]:
    """The JSON object in `path`; RecordingError where it is none."""
    try:
        document = all_printable(json.loads(path.read_text(encoding="utf-8-sig")))
    except OSError as problem:
        raise RecordingError(f"{path} cannot be read: {problem.strerror}; name a profile") from None
    except (ValueError, RecursionError) as problem:
        raise RecordingError(f"{path} is no JSON: {problem}; name a profile") from None
    if not isinstance(document, dict):
        raise RecordingError(f"{path} is no profile: it must have the keys model and all_results")
    if _is_deeper(document, _DEEPEST):
        raise RecordingError(
            f"{path} is no profile: it is nested more than {_DEEPEST} levels deep; name another"
        )
    return document


def _is_deeper(value: Any, levels: int) -> bool:
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return bool(items) and (levels == 0 or any(_is_deeper(item, levels - 1) for item in items))


def check_version(document: Mapping[str, Any], known: int, name: str) -> int:
    """The `schema_version`, 0 where it has none; RecordingError for one after `known`."""
    version = document.get("schema_version", 0)
    if not isinstance(version, int) or isinstance(version, bool) or version < 0:
        raise RecordingError(f"{name}: schema_version: it must be a whole number")
    if version > known:
        raise RecordingError(
            f"{name}: schema_version: {version} is newer than {known}, which this version knows: "
            "update pytest-yourai, or name another profile"
        )
    return version


def mapping(value: Any) -> Mapping[str, Any]:
    """`value`, or an empty one where it is no JSON object."""
    return value if isinstance(value, dict) else {}

"""The rows of profiles for other programs: JSON, JSON lines and CSV, with units in the names."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pytest_yourai.core.sanitize import clean, json_text, screen_line, screen_text, without_commands
from pytest_yourai.report.tables import aligned
from pytest_yourai.store.profile_reader import read_profiles
from pytest_yourai.store.rows import TrialRow
from pytest_yourai.store.stored_profile import StoredProfile

_FORMULA = re.compile(r"(^|;)(?=\s*[=+\-@\u2212\uff1d\uff0b\uff0d\uff20\ufe66\ufe62\ufe63\ufe6b])")
"""The beginning of a formula in a spreadsheet, which may part cells at semicolons.

Spreadsheets read the wide and small forms of these characters as themselves.
"""

_MINIMA = ("minimum_memory_mb", "safe_memory_mb", "minimum_memory_bytes")
"""Null if peaks stand in for them."""


def flat_rows(profiles: Sequence[StoredProfile], *, with_profile: bool) -> list[dict[str, Any]]:
    """A row for each configuration, all with the same keys, in the order of the files.

    The keys are those of a profile's rows, after `model` and `optimal`; `with_profile` puts
    `profile`, the name of the file, before them.
    """
    return [
        clean(
            {
                **({"profile": profile.name} if with_profile else {}),
                "model": profile.model,
                "optimal": result is profile.optimum,
                **TrialRow.from_result(result).as_json(),
                **(dict.fromkeys(_MINIMA) if not profile.has_minima else {}),
            }
        )
        for profile in profiles
        for result in profile.results.values()
    ]


def as_json(rows: Sequence[dict[str, Any]]) -> str:
    """A list of objects."""
    return json_text(rows, indent=2) + "\n"


def as_jsonl(rows: Sequence[dict[str, Any]]) -> str:
    """An object a line."""
    return "".join(json_text(each) + "\n" for each in rows)


def as_csv(rows: Sequence[dict[str, Any]]) -> str:
    """RFC 4180, with one header; null is empty, the parts of a list have `;` between."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(rows[0])
    writer.writerows([_cell(value) for value in each.values()] for each in rows)
    return text.getvalue()


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return json_text(value)
    if isinstance(value, list):
        return _without_formula(";".join(map(_cell, value)))
    return _without_formula(value) if isinstance(value, str) else str(value)


def _without_formula(text: str) -> str:
    """Text that no spreadsheet runs, and no CI service."""
    return _FORMULA.sub(r"\1'", without_commands(text))


_ROW_FORMATS = {"json": as_json, "jsonl": as_jsonl, "csv": as_csv}


def formatted(paths: Sequence[Path], name: str) -> str:
    """All profiles in `paths` in the format `name`; RecordingError where one cannot be read."""
    profiles = [profile for path in paths for profile in read_profiles(path)]
    if name == "md":
        from pytest_yourai.report.markdown import markdown  # noqa: PLC0415 - others start faster

        return screen_text(markdown(profiles))
    if name == "table":
        return "".join(f"{screen_line(line)}\n" for line in aligned(profiles))
    return _ROW_FORMATS[name](flat_rows(profiles, with_profile=len(paths) > 1))

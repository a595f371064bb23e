"""Files of profiles as the text that `yourai show` prints."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pytest_yourai.report.markdown import markdown
from pytest_yourai.report.row_table import aligned
from pytest_yourai.report.rows import as_csv, as_json, as_jsonl, flat_rows
from pytest_yourai.store.stored_profile import read_profiles

_OF_ROWS = {"json": as_json, "jsonl": as_jsonl, "csv": as_csv}


def formatted(paths: Sequence[Path], name: str) -> str:
    """All profiles in `paths` in the format `name`; RecordingError where one cannot be read."""
    profiles = [profile for path in paths for profile in read_profiles(path)]
    if name == "md":
        return markdown(profiles)
    if name == "table":
        return "".join(f"{line}\n" for line in aligned(profiles))
    return _OF_ROWS[name](flat_rows(profiles, with_profile=len(paths) > 1))

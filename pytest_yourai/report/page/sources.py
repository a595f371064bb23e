"""Where the profiles of a page come from: files, and folders of them, which are a history."""

from __future__ import annotations

import datetime
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from pytest_yourai.errors import RecordingError
from pytest_yourai.store.stored_profile import StoredProfile, read_profiles

_LONG_AGO = datetime.datetime.min.replace(tzinfo=datetime.UTC)


@dataclass(frozen=True)
class LeftOut:
    """A file of a folder that is no profile, and why."""

    name: str
    why: str


@dataclass(frozen=True)
class Sources:
    """All that a page is made of; `files` is what was read for it."""

    profiles: tuple[StoredProfile, ...]
    left_out: tuple[LeftOut, ...]
    files: tuple[Path, ...]


def read_sources(paths: Iterable[Path]) -> Sources:
    """The profiles of files, and of the JSON files in folders, these by when they were made.

    RecordingError where a file is no profile, or a folder has none.
    """
    profiles: list[StoredProfile] = []
    left_out: list[LeftOut] = []
    files: list[Path] = []
    for path in paths:
        if not path.is_dir():
            profiles += read_profiles(path)
            files.append(path)
            continue
        found, others = _in_folder(path)
        profiles += found
        left_out += others
        files += _json_files(path)
    return Sources(tuple(profiles), tuple(left_out), tuple(files))


def _in_folder(folder: Path) -> tuple[list[StoredProfile], list[LeftOut]]:
    found: list[StoredProfile] = []
    others: list[LeftOut] = []
    for path in _json_files(folder):
        try:
            found += read_profiles(path)
        except RecordingError as problem:
            others.append(LeftOut(path.name, str(problem)))
    if not found:
        raise RecordingError(
            f"{folder} has no profile: name a folder with profiles as a sweep writes them"
        )
    return sorted(found, key=lambda each: each.created_at or _LONG_AGO), others


def _json_files(folder: Path) -> list[Path]:
    try:
        return sorted(each for each in folder.glob("*.json") if each.is_file())
    except OSError as problem:
        raise RecordingError(f"{folder} cannot be read: {problem.strerror}; name another") from None

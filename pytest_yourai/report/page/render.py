"""The page: one HTML file that needs nothing else, and reaches nothing else."""

from __future__ import annotations

import base64
import dataclasses
import datetime
import hashlib
import html
import json
import mimetypes
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from pytest_yourai.core.errors import OptionError, RecordingError
from pytest_yourai.core.keeping import HTML_COMMENT, write_sealed
from pytest_yourai.core.paths import is_folder
from pytest_yourai.core.sanitize import all_printable, clean, printable
from pytest_yourai.machine.environment import versions
from pytest_yourai.report.page.history_data import comparisons_data, history_data
from pytest_yourai.report.page.profile_data import heading_data, outcome_data, profile_data, title
from pytest_yourai.store.compare.thresholds import DEFAULT_THRESHOLDS, RegressionThresholds
from pytest_yourai.store.profile import created_at
from pytest_yourai.store.profile_reader import read_profiles
from pytest_yourai.store.stored_profile import StoredProfile

REPORT_FLAG = "--yourai-report"


@dataclass(frozen=True)
class Content:
    """Content of a page: profiles, files that were left out, thresholds of regressions.

    `files` are those that were read.
    """

    profiles: Sequence[StoredProfile]
    left_out: Sequence[LeftOut] = ()
    files: Sequence[Path] = ()
    gate: RegressionThresholds = DEFAULT_THRESHOLDS

    @property
    def opened(self) -> int:
        """Index of the profile shown first: the last, which in a folder is the newest.

        Of several models it is the largest that fits: a walk goes from small to large.
        """
        last = len(self.profiles) - 1
        if len({each.model for each in self.profiles}) == 1:
            return last
        fitting = [number for number, each in enumerate(self.profiles) if each.optimum is not None]
        return fitting[-1] if fitting else last


def check_page_name(path: Path, flag: str) -> None:
    """Raise OptionError if the name promises a file of another kind, such as a PDF."""
    if mimetypes.guess_type(path.name)[0] not in {None, "text/html"}:
        page_name = path.with_suffix(".html")
        raise OptionError(f"{flag}: a page is HTML, not {path.suffix}: name it {page_name}")


def write_page(path: Path, content: Content, named_by: str) -> Path | None:
    """Write the page; OutputError, beginning with `named_by`, if that fails.

    A file there that is not a page as it was written is kept under the name that is returned.
    """
    return write_sealed(path, page(content), named_by, HTML_COMMENT)


def page(content: Content) -> str:
    """The text of the file."""
    script = strict_script(_scripts())
    parts = {
        "policy": policy(script),
        "title": html.escape(printable(clean(title(content.profiles[content.opened])))),
        "style": packaged("page.css"),
        "data": embedded(all_printable(clean(_data(content)))),
        "script": script,
    }
    return filled("page.html", parts)


def strict_script(text: str) -> str:
    """`text` with names that no other script sees."""
    return f'"use strict";\n(() => {{\n{text}\n}})();\n'


def filled(name: str, parts: Mapping[str, str]) -> str:
    """The packaged page `name` with its parts."""
    return re.sub(r"\{\{(\w+)\}\}", lambda match: parts[match[1]], packaged(name))


def embedded(value: Any) -> str:
    """`value` as JSON, with the characters escaped that mean something in HTML or scripts."""
    text = json.dumps(value, allow_nan=False, ensure_ascii=False, separators=(",", ":"))
    return re.sub("[<>&\u2028\u2029]", lambda match: f"\\u{ord(match[0]):04x}", text)


_MOST_ROWS = 1000
"""Rows of trials that a page has, 2.4 kB each, unless a single profile has more."""


def _whole(content: Content) -> list[int]:
    """Indices of the profiles that the page has whole: the newest, and the first of their models.

    Of the others it has the history alone.
    """
    profiles = content.profiles
    first: dict[str, int] = {}
    for number, each in enumerate(profiles):
        first.setdefault(each.model, number)
    found: set[int] = set()
    rows = 0
    for number in (content.opened, *reversed(range(len(profiles)))):
        more = {number, first[profiles[number].model]} - found
        rows += sum(len(profiles[each].results) for each in more)
        if found and rows > _MOST_ROWS:
            break
        found |= more
    return sorted(found)


def _comparisons(content: Content, whole: Sequence[int]) -> list[dict[str, Any]]:
    found = comparisons_data([content.profiles[number] for number in whole], content.gate)
    return [
        {**each, "before": whole[each["before"]], "after": whole[each["after"]]} for each in found
    ]


def _data(content: Content) -> Mapping[str, Any]:
    whole = _whole(content)
    return {
        "made_by": f"pytest-yourai {versions().get('pytest-yourai', '')}".strip(),
        "made_at": created_at(),
        "outcomes": outcome_data(),
        "profiles": [
            profile_data(each) if number in whole else heading_data(each)
            for number, each in enumerate(content.profiles)
        ],
        "opened": content.opened,
        "comparisons": _comparisons(content, whole),
        "history": history_data(content.profiles),
        "left_out": list(map(dataclasses.asdict, content.left_out)),
    }


def policy(*scripts: str) -> str:
    """Runs these scripts and no others, and connects to nothing."""
    digests = (hashlib.sha256(each.encode()).digest() for each in scripts)
    hashes = " ".join(f"'sha256-{base64.b64encode(each).decode()}'" for each in digests)
    return (
        f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; "
        "connect-src 'none'; base-uri 'none'; form-action 'none'"
    )


def _scripts() -> str:
    """All scripts; `main`, which alone does something when it is read, is the last."""
    names = {each.name for each in (files(__package__) / "scripts").iterdir()} - {"main.js"}
    scripts = [name for name in sorted(names) if name.endswith(".js")]
    return "\n".join(packaged(f"scripts/{name}") for name in (*scripts, "main.js"))


def packaged(name: str) -> str:
    """The text of a file of this package."""
    return (files(__package__) / name).read_text(encoding="utf-8")


_LONG_AGO = datetime.datetime.min.replace(tzinfo=datetime.UTC)


@dataclass(frozen=True)
class LeftOut:
    """A file in a folder that could not be read as a profile, and why."""

    name: str
    why: str


def read_sources(paths: Iterable[Path]) -> Content:
    """The profiles in files, and in the JSON files of folders, these in order of creation.

    RecordingError if a file cannot be read as a profile, or a folder has none.
    """
    parts = [
        _read_folder(path) if is_folder(path) else Content(read_profiles(path), files=[path])
        for path in paths
    ]
    return Content(
        profiles=[profile for part in parts for profile in part.profiles],
        left_out=[other for part in parts for other in part.left_out],
        files=[file for part in parts for file in part.files],
    )


def _read_folder(folder: Path) -> Content:
    try:
        files = sorted(each for each in folder.glob("*.json") if each.is_file())
    except OSError as problem:
        raise RecordingError(f"{folder} cannot be read: {problem.strerror}; name another") from None
    found: list[StoredProfile] = []
    others: list[LeftOut] = []
    for path in files:
        try:
            found += read_profiles(path)
        except RecordingError as problem:
            others.append(LeftOut(path.name, str(problem)))
    if not found:
        raise RecordingError(
            f"{folder} has no profile: name a folder with profiles as a sweep writes them"
        )
    return Content(sorted(found, key=lambda each: each.created_at or _LONG_AGO), others, files)

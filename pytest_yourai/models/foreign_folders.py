"""Folders of another's making, whose Python code is not run unless the user trusts it.

Kept light: every pytest run imports it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from pytest_yourai.core.checkouts import path_entries
from pytest_yourai.core.errors import InputError
from pytest_yourai.core.paths import given_path, is_folder, without_links

MODEL_MARK = "config.json"

DATA_MARK = "*.jsonl"


def marked_folders(texts: Iterable[str], start: Path, mark: str) -> Iterator[Path]:
    """Those of `texts`, as seen from `start`, that are folders with a file like `mark`."""
    for text in filter(None, map(str.strip, texts)):
        # What is no path is refused where the flags are read.
        with suppress(ValueError):
            folder = given_path(text, start)
            if is_folder(folder) and any(folder.glob(mark)):
                yield folder


def listed_folders(texts: Iterable[str], start: Path) -> Iterator[Path]:
    """The model folders that lists of models name; a list that is not valid names none."""
    for text in filter(None, map(str.strip, texts)):
        # Imported here: an inert plugin must not pay for pydantic and yaml.
        from pytest_yourai.core.installed import import_installed  # noqa: PLC0415

        import_installed()
        from pytest_yourai.models.presets import read_presets  # noqa: PLC0415

        # What is not valid is refused where the list is used.
        with suppress(ValueError, OSError, InputError):
            for preset in read_presets(given_path(text, start)).values():
                if preset.folder is not None:
                    yield from marked_folders([str(preset.folder)], start, MODEL_MARK)


def entries_in(search_path: Iterable[str], folders: Iterable[Path]) -> list[str]:
    """The entries of a path of modules that are one of `folders`, or lie in one."""
    tops = [without_links(folder) for folder in folders]
    return [
        entry
        for entry in search_path
        if any(without_links(Path(entry)).is_relative_to(top) for top in tops)
    ]


def without_entries(search_path: str, folders: Iterable[Path]) -> str:
    """PYTHONPATH without what lies in `folders`; an empty entry is the current folder."""
    entries = path_entries(search_path)
    left_out = entries_in(entries, folders)
    return os.pathsep.join(entry for entry in entries if entry not in left_out)

"""The folders of another's making that a profile leads to, where it names the model to train."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from pytest_yourai.core.errors import InputError
from pytest_yourai.core.files import mapping, read_document
from pytest_yourai.core.paths import given_path
from pytest_yourai.models.foreign_folders import MODEL_MARK, listed_folders, marked_folders


def profile_folders(texts: Iterable[str], start: Path) -> Iterator[Path]:
    """The model folders that profiles name, themselves or by a list of presets."""
    for text in texts:
        # What is not valid is refused where the profile is read.
        with suppress(ValueError, OSError, InputError):
            settings = mapping(read_document(given_path(text, start)).get("settings"))
            model, presets = settings.get("model"), settings.get("presets_file")
            if isinstance(model, str):
                yield from marked_folders([model], start, MODEL_MARK)
            if isinstance(presets, str):
                yield from listed_folders([presets], start)

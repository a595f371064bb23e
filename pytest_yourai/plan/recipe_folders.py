"""The folders of another's making that a recipe leads to.

Kept light: every pytest run imports it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from pytest_yourai.core.errors import InputError, RecipeError
from pytest_yourai.core.paths import given_path
from pytest_yourai.models.foreign_folders import DATA_MARK, MODEL_MARK, marked_folders


def recipe_folders(texts: Iterable[str], start: Path) -> Iterator[Path]:
    """The model and data folders that recipes name, and a recipe's own if it is a model's."""
    for text in filter(None, map(str.strip, texts)):
        # What is not valid is refused where the recipe is read.
        with suppress(ValueError, OSError, InputError):
            path = given_path(text, start)
            yield from marked_folders([str(path.parent)], start, MODEL_MARK)
            named = _named(path)
            # mlx-lm takes paths relative to the folder where it was started.
            yield from marked_folders(named.get("model", ()), Path.cwd(), MODEL_MARK)
            yield from marked_folders(named.get("data", ()), Path.cwd(), DATA_MARK)


def _named(path: Path) -> dict[str, list[str]]:
    """The texts of keys of the recipe in `path`, whether or not the rest of it is valid."""
    # Imported here: an inert plugin must not pay for pydantic and yaml.
    from pytest_yourai.core.installed import import_installed  # noqa: PLC0415

    import_installed()
    from pytest_yourai.core.yaml_file import read_yaml  # noqa: PLC0415

    found: Any = read_yaml(path, RecipeError, "a configuration of mlx_lm.lora").value
    values = found if isinstance(found, dict) else {}
    return {key: [value] for key, value in values.items() if isinstance(value, str)}

"""From the text of a flag or an ini key to its value; ValueError, in words, where it is none."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pytest_yourai.model_folder import is_folder
from pytest_yourai.paths import given_path

_BYTES_PER_GB = 1e9
_MOST_GB = 1e6
_LEAST_GB = 0.001


def memory_bytes(text: str) -> int:
    """Bytes, from a number of GB."""
    gigabytes = positive(_MOST_GB)(text)
    if gigabytes < _LEAST_GB:
        raise ValueError(f"it must be at least {_LEAST_GB:g}, which is 1 MB")
    return round(gigabytes * _BYTES_PER_GB)


def positive(most: float) -> Callable[[str], float]:
    """A parser of numbers above 0."""

    def parse(text: str) -> float:
        try:
            number = float(text)
        except ValueError:
            number = math.nan
        if not 0 < number <= most:
            raise ValueError(f"it must be a number above 0 and at most {most:g}")
        return number

    return parse


def at_least(least: int, most: int | None = None) -> Callable[[str], int]:
    """A parser of whole numbers."""

    def parse(text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            number = least - 1
        if number < least:
            raise ValueError(f"it must be a whole number of at least {least}")
        if most is not None and number > most:
            raise ValueError(f"it must be at most {most:,}")
        return number

    return parse


def one_of(*choices: Any) -> Callable[[str], Any]:
    """A parser of words."""

    def parse(text: str) -> Any:
        if text not in choices:
            raise ValueError(f"it must be one of {', '.join(choices)}")
        return text

    return parse


def module_names(text: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    if not names:
        raise ValueError("it must name modules, such as self_attn.q_proj,self_attn.v_proj")
    return names


def data_source(text: str, folder: Path) -> str:
    """A folder as an absolute path, since the worker may start elsewhere; else a data set's name.

    A path that cannot be a data set's name must exist.
    """
    path = given_path(text, folder)
    if is_folder(path):
        if not (path / "train.jsonl").is_file():
            raise ValueError("the folder has no train.jsonl")
        if (path / "train.jsonl").stat().st_size == 0:
            raise ValueError("its train.jsonl is empty")
        return str(path)
    if os.path.exists(path):  # noqa: PTH110 - Path's own raises where a name is too long
        raise ValueError("it is a file: name its folder, with a train.jsonl in it")
    if text.startswith((".", "/", "~")) or text.count("/") != 1:
        raise ValueError("there is no such folder")
    return text

"""Parsers of the values of flags and ini keys; each raises ValueError with a reason in words."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from pytest_yourai.core.lfs import pointer_in, pointer_remedy
from pytest_yourai.core.paths import given_path, is_folder
from pytest_yourai.core.units import GB

_Number = TypeVar("_Number", int, float)

_MOST_GB = 1e6

_LEAST_GB = 0.001

_SIZE = re.compile(r"([\d.]+(?:e\d+)?)\s*(GB|MB)", re.IGNORECASE)


def memory_bytes(text: str) -> int:
    """Bytes, from a number of GB (1e9 bytes), with or without its unit: `16`, `16GB`, `500 MB`."""
    match = _SIZE.fullmatch(text.strip())
    number = _number(match[1] if match else text, float)
    is_in_mb = match is not None and match[2].upper() == "MB"
    gigabytes = number / 1000 if number is not None and is_in_mb else number
    # NaN compares false with everything.
    if gigabytes is None or not 0 < gigabytes <= _MOST_GB:
        raise ValueError(
            f"it must be a number of GB above 0, such as 16, 16GB or 500MB, up to {_MOST_GB:,.0f}"
        )
    if gigabytes < _LEAST_GB:
        raise ValueError(f"it must be at least {_LEAST_GB:g} GB, which is 1 MB")
    return round(gigabytes * GB)


def memory_size(text: str) -> int:
    """Bytes, from a number with its unit: `20 GB`, `500MB` (1e9 and 1e6 bytes)."""
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise ValueError("it must be a number of GB or MB, such as 20 GB")
    return memory_bytes(text)


def positive(most: float) -> Callable[[str], float]:
    """A parser of numbers above 0, up to `most`."""

    def parse(text: str) -> float:
        number = _number(text, float)
        # NaN compares false with everything.
        if number is None or not 0 < number <= most:
            raise ValueError(f"it must be a number above 0 and at most {most:g}")
        return number

    return parse


def number_within(least: float, below: float) -> Callable[[str], float]:
    """A parser of numbers from `least` to below `below`."""

    def parse(text: str) -> float:
        number = _number(text, float)
        # NaN compares false with everything.
        if number is None or not least <= number < below:
            raise ValueError(f"it must be a number of at least {least:g} and below {below:g}")
        return number

    return parse


def at_least(least: int, most: int | None = None) -> Callable[[str], int]:
    """A parser of whole numbers from `least` to `most`."""

    def parse(text: str) -> int:
        number = _number(text, int)
        if number is None or number < least:
            raise ValueError(f"it must be a whole number of at least {least}")
        if most is not None and number > most:
            raise ValueError(f"it must be at most {most:,}")
        return number

    return parse


def one_of(*choices: Any) -> Callable[[str], Any]:
    """A parser that takes one of the words `choices`."""

    def parse(text: str) -> Any:
        if text not in choices:
            raise ValueError(f"it must be one of {', '.join(choices)}")
        return text

    return parse


def _number(text: str, number_type: Callable[[str], _Number]) -> _Number | None:
    try:
        return number_type(text)
    except ValueError:
        return None


def data_source(text: str, folder: Path) -> str:
    """An absolute path to a folder, since the worker may start elsewhere; else a data set's name.

    ValueError for a folder without rows, and for a path to nothing that cannot be such a name.
    """
    path = given_path(text, folder)
    if is_folder(path):
        if not (path / "train.jsonl").is_file():
            raise ValueError("the folder has no train.jsonl: put one there, or name another")
        if (path / "train.jsonl").stat().st_size == 0:
            raise ValueError("its train.jsonl is empty: fill it, or name another folder")
        if pointer := pointer_in(path, "*.jsonl"):
            raise ValueError(pointer_remedy(pointer))
        return str(path)
    if os.path.exists(path):  # noqa: PTH110 - Path's own raises where a name is too long
        raise ValueError("it is a file: name its folder, with a train.jsonl in it")
    if text.startswith((".", "/", "~")) or text.count("/") != 1:
        raise ValueError("there is no such folder: name one with a train.jsonl")
    return text

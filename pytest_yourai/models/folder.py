"""A model's folder: its architecture, and the files that mlx-lm would load."""

from __future__ import annotations

import re
import stat
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pytest_yourai.core.errors import ModelError
from pytest_yourai.core.files import parse_json
from pytest_yourai.core.lfs import is_pointer, pointer_remedy
from pytest_yourai.core.opening import read_regular

CONFIG = "config.json"

WEIGHTS = "model*.safetensors"
"""Pattern of the files that mlx-lm reads weights from."""

INDEX = "model.safetensors.index.json"

_WHOLE = "model.safetensors"
"""The only file of weights if they are not split into shards."""

_SHARD = re.compile(r"(.*-)(\d+)(-of-)(\d+)(\.safetensors)")


def read_architecture(path: Path) -> dict[str, Any]:
    """A config.json as a mapping with a model_type; ModelError if it is not valid."""
    try:
        value = parse_json(read_regular(path).decode())
    except FileNotFoundError:
        raise ModelError(
            f"{path.parent} is not a model: it has no {path.name}; name a folder as mlx-lm loads it"
        ) from None
    except OSError as problem:
        raise ModelError(
            f"{path} cannot be read as a model's config: {problem.strerror}; name another folder"
        ) from None
    except (ValueError, RecursionError) as problem:
        if is_pointer(path):
            raise ModelError(pointer_remedy(path)) from None
        raise ModelError(
            f"{path} cannot be read as a model's config: {problem}; name another folder, or fix it"
        ) from None
    if not isinstance(value, dict):
        raise ModelError(f"{path}: it must be a JSON object, as a model's config is")
    if not isinstance(value.get("model_type"), str):
        raise ModelError(f"{path}: model_type: this key is missing: add it, or name a model")
    if key := endless_number(value):
        raise ModelError(f"{path}: {key}: no model has a number that large: correct it")
    return value


_MOST = 10**40
"""More than any number that means something; the product of several is still a float."""


def endless_number(architecture: Mapping[str, Any]) -> str | None:
    """The path of the first whole number that no model can have; None without one."""
    left: list[tuple[str, Any]] = list(architecture.items())
    while left:
        key, value = left.pop()
        if isinstance(value, int) and abs(value) > _MOST:
            return key
        if isinstance(value, dict):
            left += [(f"{key}.{name}", each) for name, each in value.items()]
        elif isinstance(value, list):
            left += [(key, each) for each in value]
    return None


def missing_file(folder: Path) -> str | None:
    """The first missing file that mlx-lm needs to load the folder; None if all are there.

    ModelError if the index of its weights is not valid, and for what nobody could read to its end.
    """
    _refuse_endless(folder)
    there = sorted(file.name for file in folder.glob(WEIGHTS) if file.is_file())
    indexed = _indexed(folder / INDEX)
    if _WHOLE in there and _WHOLE not in indexed:
        # The index lists shards from before they were merged into this file: mlx-lm ignores it.
        indexed = []
    wanted = [CONFIG, *indexed, *_announced(there)]
    absent = (name for name in wanted if not (folder / name).is_file())
    return next(absent, None if there else WEIGHTS)


def _refuse_endless(folder: Path) -> None:
    """ModelError for a pipe, a device or a socket among the files: a worker would wait for it."""
    for path in folder.glob("*"):
        try:
            kind = stat.S_IFMT(path.stat().st_mode)
        except OSError:
            continue
        if kind not in (stat.S_IFREG, stat.S_IFDIR):
            raise ModelError(f"{path} is not a regular file: remove it, or name another folder")


def _indexed(path: Path) -> list[str]:
    """The weight files that an index names; empty without an index."""
    if not path.is_file():
        return []
    try:
        names = parse_json(read_regular(path).decode())["weight_map"].values()
        return sorted({str(name) for name in names})
    except (OSError, ValueError, RecursionError, KeyError, TypeError, AttributeError) as problem:
        raise ModelError(
            f"{path} cannot be read as an index of weights: {type(problem).__name__}: {problem}; "
            "fix it, or remove it if all weights are in one file"
        ) from None


def _announced(names: Iterable[str]) -> list[str]:
    """All shards of each family with one among `names`: model-00001-of-00003.safetensors."""
    shards = (match for name in names if (match := _SHARD.fullmatch(name)))
    families = {
        (match[1], len(match[2]), match[3] + match[4] + match[5], int(match[4])) for match in shards
    }
    return [
        f"{head}{number:0{width}}{tail}"
        for head, width, tail, count in sorted(families)
        for number in range(1, count + 1)
    ]

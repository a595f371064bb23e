"""A config.json as mlx-lm takes it: its text part, with mlx-lm's own defaults for missing keys."""

from __future__ import annotations

import functools
import importlib.machinery
import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from pytest_yourai.models.config_keys import first_whole, flat_config, needed, whole

DEFAULTS_FILE = "mlx_lm_defaults.json"

_TEXT_TYPES = {"gemma3": "gemma3_text", "qwen3_5_moe": "qwen3_5"}
"""Model types that mlx-lm builds with the keys of another one."""

_GEMMA3_TEXT = {"num_attention_heads": 8, "num_key_value_heads": 4}
"""What mlx-lm's gemma3 assumes of its text part, other than gemma3_text alone."""


@dataclass(frozen=True)
class KnownConfig:
    """Keys of a config.json, with defaults; `model_type` is the module of mlx-lm that builds it."""

    keys: Mapping[str, Any]
    model_type: str

    def needed(self, *names: str) -> int:
        """The first of the keys `names` that holds a positive whole number; ModelError without."""
        return needed(self.keys, *names)

    def size(self, *names: str) -> int:
        """The first of the keys `names` that holds a positive whole number, else 0."""
        return first_whole(self.keys, *names)

    def flag(self, name: str) -> bool:
        return bool(self.keys.get(name))

    def listed(self, name: str) -> list[Any]:
        """The value of a key that holds a list, else an empty one."""
        value = self.keys.get(name)
        return list(value) if isinstance(value, list | tuple | str) else []


def known_config(config: Mapping[str, Any]) -> KnownConfig:
    """`config` with the keys of its text part on top, and mlx-lm's defaults below."""
    flat = flat_config(config)
    renamed, defaults = _table()
    outer, inner = (str(each.get("model_type", "")) for each in (config, flat))
    known = [renamed.get(name, name) for name in (outer, inner)]
    known[1] = _TEXT_TYPES.get(known[0], known[1])
    if known[0] == "gemma3":
        # mlx-lm takes the number of words from outside the text part.
        flat["vocab_size"] = whole(config.get("vocab_size")) or defaults["gemma3"]["vocab_size"]
    keys: dict[str, Any] = {}
    for name in known:
        keys.update(defaults.get(name, {}))
    if known[0] == "gemma3":
        keys.update(_GEMMA3_TEXT)
    model_type = known[1] if known[1] in defaults else known[0]
    return KnownConfig({**keys, **flat}, model_type or inner)


def unknown_type(config: Mapping[str, Any]) -> str | None:
    """The model type, where the installed mlx-lm has no module for it; None where that is unsure.

    It is: without mlx-lm here, and for a model that brings its own module.
    """
    found = importlib.machinery.PathFinder.find_spec("mlx_lm")
    name = config.get("model_type")
    if found is None or not isinstance(name, str) or config.get("model_file"):
        return None
    module = f"{_table()[0].get(name, name)}.py"
    folders = [Path(each) / "models" for each in found.submodule_search_locations or ()]
    is_there = any((folder / module).is_file() for folder in folders)
    return None if is_there or not any(map(Path.is_dir, folders)) else name


@functools.cache
def _table() -> tuple[dict[str, str], dict[str, dict[str, Any]]]:
    package = resources.files("pytest_yourai.models")
    document = json.loads((package / DEFAULTS_FILE).read_text(encoding="utf-8"))
    return document["renamed"], document["defaults"]

"""The user's own recipe with an answer in it: other keys, their order and comments stay."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Mapping, MutableMapping, MutableSequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.scalarstring import SingleQuotedScalarString
from ruamel.yaml.util import load_yaml_guess_indent

from pytest_yourai.core.axes import AXES, LORA_KEYS, SIZES
from pytest_yourai.core.config import ALL_KEYS, FineTuneType, LoraConfig
from pytest_yourai.core.errors import RecipeError
from pytest_yourai.core.recipe import MLX_LM_CONFIG, MLX_LM_DEFAULTS
from pytest_yourai.core.redaction import redactor
from pytest_yourai.core.yaml_file import is_plain_text, plain_value

_FIRST_LINE = "# Run it with: "
"""How a file begins that this plugin has written."""

_EFFECTIVE = "effective_batch_size"
"""A key of our own, which `grad_accumulation_steps` must agree with."""

_NESTED = re.compile(r"^\S.*:[ \t]*(?:#.*)?\n(?:[ \t]*(?:#.*)?\n)*( +)[^\s#-]", re.MULTILINE)
"""A mapping within a mapping, by its indentation."""


@dataclass(frozen=True, kw_only=True)
class GivenRecipe:
    """The `text` of a recipe file, and whether the run took its model and data from it."""

    text: str
    has_model: bool
    has_data: bool


def without_header(text: str) -> str:
    """`text` without the comments that an earlier answer begins with."""
    if not text.startswith(_FIRST_LINE):
        return text
    lines = text.splitlines(keepends=True)
    count = next((place for place, line in enumerate(lines) if line[:1] != "#"), len(lines))
    return "".join(lines[count:]).lstrip("\n")


def with_answer(
    text: str, config: LoraConfig, paths: tuple[str, ...], entries: Mapping[str, Any]
) -> str:
    """The recipe `text` that trains in `config`, with adapters on the modules of `paths`.

    `entries` replace those of the same name, and one that is None takes an entry out. Of the axes
    batch, rank and layers are always written, the others where the recipe has another value. An
    `effective_batch_size` that does not hold any more is taken out.
    """
    body = without_header(text)
    recipe, yaml = _read(body)
    for name, value in _changes(recipe, config):
        recipe[name] = _safe(value)
    if recipe.get(_EFFECTIVE) not in (None, config.effective_batch_size):
        recipe.pop(_EFFECTIVE)
    if config.fine_tune_type is not FineTuneType.FULL:
        _set_lora_parameters(recipe, config, paths)
    for name, value in entries.items():
        if value is None:
            recipe.pop(name, None)
        else:
            recipe[name] = _safe(value)
    _leave_secrets_out(recipe)
    return redactor().without_known(_written(recipe, yaml))


def check_rewritable(path: Path, text: str) -> None:
    """RecipeError where the recipe `text` of `path` would not be the same if it was written back.

    YAML has two versions: recipes are read in 1.1, as mlx-lm reads them, and written in 1.2.
    """
    body = without_header(text)
    try:
        stays = plain_value(_written(*_read(body))) == plain_value(body)
    except Exception:  # noqa: BLE001 - whatever the library makes of it
        stays = False
    if not stays:
        raise RecipeError(
            f"{path}: --yourai-lora-config cannot write it back as it is: its YAML has another "
            "meaning in version 1.2; use line feeds and plain values, or leave that flag out"
        )


def _read(body: str) -> tuple[Any, YAML]:
    """The recipe, and what writes it back in its own indentation."""
    recipe, indent, offset = load_yaml_guess_indent(body, yaml=_yaml())
    yaml = _yaml()
    nested = _NESTED.search(body)
    yaml.indent(
        mapping=len(nested[1]) if nested else 2,
        sequence=indent if offset is not None else 2,
        offset=offset or 0,
    )
    return recipe, yaml


def _written(recipe: Any, yaml: YAML) -> str:
    written = io.StringIO()
    yaml.dump(recipe, written)
    return written.getvalue()


def _yaml() -> Any:
    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = 1 << 30
    return yaml


def _changes(recipe: Mapping[str, Any], config: LoraConfig) -> Iterator[tuple[str, Any]]:
    """The axes that the recipe is to have, by mlx-lm's names of one part."""
    for axis in AXES:
        name, *rest = axis.mlx_lm
        if rest:
            continue
        value, given = axis.stored(config), recipe.get(name)
        held = axis.stored(MLX_LM_CONFIG) if given is None else given
        if isinstance(held, str):
            held = held.lower()
        if value != held or axis in SIZES:
            yield name, value


def _set_lora_parameters(
    recipe: MutableMapping[str, Any], config: LoraConfig, paths: tuple[str, ...]
) -> None:
    """All that mlx-lm needs there: it has no defaults for parts of the mapping."""
    found = recipe.get("lora_parameters")
    if found is None:
        found = recipe["lora_parameters"] = {}
    found["rank"] = config.rank
    if found.get("scale") is None:
        found["scale"] = MLX_LM_DEFAULTS.scale
    if found.get("dropout") != config.dropout:
        found["dropout"] = config.dropout
    key = LORA_KEYS.mlx_lm[1]
    if config.lora_keys == ALL_KEYS:
        found.pop(key, None)
    elif paths and (isinstance(found.get(key), str) or set(found.get(key) or ()) != set(paths)):
        found[key] = [_safe(path) for path in paths]


def _safe(value: Any) -> Any:
    """`value` as mlx-lm reads it: quoted where it would take a text for something else."""
    if not isinstance(value, str):
        return value
    shown = redactor().without_known(value)
    return str(shown) if is_plain_text(shown) else SingleQuotedScalarString(shown)


def _leave_secrets_out(part: Any) -> None:
    """Take secrets out of all texts below `part`, which stays the YAML that it is."""
    if isinstance(part, MutableMapping):
        places: Any = list(part.items())
    elif isinstance(part, MutableSequence):
        places = list(enumerate(part))
    else:
        return
    for place, value in places:
        if isinstance(value, str) and (shown := redactor().without_known(value)) != value:
            part[place] = SingleQuotedScalarString(shown)
        else:
            _leave_secrets_out(value)

"""A recipe as the user has it: the YAML file that `mlx_lm.lora --config` takes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pydantic

from pytest_yourai.core.axes import AXES
from pytest_yourai.core.config import FineTuneType
from pytest_yourai.core.errors import RecipeError
from pytest_yourai.core.parsing import data_source
from pytest_yourai.core.recipe import MLX_LM_CONFIG, Recipe
from pytest_yourai.core.yaml_file import YamlFile, read_yaml, validate
from pytest_yourai.plan.recipe_schema import HubDataset, LoraParameters, LrSchedule, RecipeSchema

_LORA_PARAMETERS = ("rank", "scale", "dropout")
"""What mlx-lm reads of this mapping without a default."""

_REFUSED = {
    "trust_remote_code": "code of a model is trusted on the command line alone, by "
    "--yourai-trust-remote-code",
    "config": "a configuration cannot name another one",
}
"""Keys of mlx_lm.lora that are refused where they say anything."""


@dataclass(frozen=True)
class RecipeFile:
    """A recipe file: what it trains, how, and on what.

    `axes` has one value for each axis that the file names; `training` the keys that matter to
    training alone, by mlx-lm's names.
    """

    path: Path
    recipe: Recipe
    axes: Mapping[str, tuple[Any, ...]]
    model: str | None = None
    data: str | None = None
    effective_batch_size: int | None = None
    training: Mapping[str, Any] = field(default_factory=dict)
    text: str = field(default="", repr=False)

    @property
    def notes(self) -> Iterator[str]:
        """Where it does another thing here than with mlx-lm."""
        if self.recipe.clear_cache_threshold:
            yield (
                f"{self.path.name}: clear_cache_threshold: it holds here; mlx_lm.lora 0.32.2 "
                "ignores it, and clears its cache after each step"
            )


_TRAINING = (
    "iters",
    "val_batches",
    "steps_per_report",
    "steps_per_eval",
    "save_every",
    "adapter_path",
    "report_to",
    "project_name",
    "test",
)


def data_of(file: RecipeFile, flag: str) -> str | None:
    """The data that a recipe names; RecipeError where it is none, with the `flag` to give instead.

    mlx-lm takes paths relative to the folder where it was started.
    """
    if file.recipe.hf_dataset or file.data is None:
        return file.recipe.data
    try:
        return data_source(file.data, Path.cwd())
    except ValueError as problem:
        raise RecipeError(
            f"{file.path}: data: {file.data!r} is not valid: {problem}, or give {flag}"
        ) from None


def read_recipe(path: Path) -> RecipeFile:
    """The recipe in `path`; RecipeError, naming file, line and key, for what cannot be honoured."""
    file = read_yaml(path, RecipeError, "a configuration of mlx_lm.lora")
    if not isinstance(file.value, dict):
        raise RecipeError(
            f"{path}:1: this is not a configuration of mlx_lm.lora: it must map keys such as "
            "model, batch_size and lora_parameters to values"
        )
    for key, why in _REFUSED.items():
        if file.value.get(key):
            raise RecipeError(f"{file.where((key,))}: {why}: remove the line")
    value = dict(file.value)
    if isinstance(name := value.get("optimizer"), str):
        value["optimizer"] = name.lower()  # as mlx-lm reads it
    found = validate(file, RecipeSchema, value | _parts(file, value), RecipeError)
    _check_trainable(file, found)
    _check_accumulation(file, found)
    return RecipeFile(
        path=path,
        recipe=_recipe(found),
        axes=_axes(found),
        model=found.model,
        data=found.data,
        effective_batch_size=found.effective_batch_size,
        text=file.text,
        training={name: value for name in _TRAINING if (value := getattr(found, name)) is not None},
    )


def _check_trainable(file: YamlFile, found: Any) -> None:
    """RecipeError where mlx-lm would fail with the file, or train nothing."""
    if found.learning_rate == 0 and found.lr_schedule is None:
        raise RecipeError(
            f"{file.where(('learning_rate',))}: mlx-lm trains nothing with 0: write more than that"
        )
    name = str(found.optimizer or MLX_LM_CONFIG.optimizer)
    arguments = found.optimizer_config or {}
    if arguments.get(name, arguments) is None:
        raise RecipeError(
            f"{file.where(('optimizer_config', name))}: mlx-lm fails without a mapping of its "
            "arguments: write {}, or remove the line"
        )
    given = file.value.get("lora_parameters")
    if given is None or found.fine_tune_type is FineTuneType.FULL:
        return
    missing = [name for name in _LORA_PARAMETERS if given.get(name) is None]
    if missing:
        raise RecipeError(
            f"{file.where(('lora_parameters',))}: mlx-lm fails without {', '.join(missing)}: "
            "add what is missing, or leave lora_parameters out"
        )


def _check_accumulation(file: YamlFile, found: Any) -> None:
    """RecipeError where an update would have two numbers of rows."""
    rows, steps = found.batch_size or MLX_LM_CONFIG.batch_size, found.grad_accumulation_steps
    asked = found.effective_batch_size
    if asked is not None and steps is not None and asked != rows * steps:
        raise RecipeError(
            f"{file.where(('effective_batch_size',))}: {asked} rows are not batch_size × "
            f"grad_accumulation_steps, {rows} × {steps}: leave effective_batch_size or "
            "grad_accumulation_steps out"
        )


def _parts(file: YamlFile, value: Mapping[str, Any]) -> dict[str, Any]:
    """The mappings of the file, as their own schemas read them."""

    def read(schema: type[pydantic.BaseModel], part: Any, *at: str | int) -> Any:
        return None if part in (None, {}) else validate(file, schema, part, RecipeError, at)

    hub = value.get("hf_dataset")
    if isinstance(hub, list):
        sets = [read(HubDataset, each, "hf_dataset", index) for index, each in enumerate(hub)]
    else:
        sets = [read(HubDataset, hub, "hf_dataset")]
    return {
        "lora_parameters": read(LoraParameters, value.get("lora_parameters"), "lora_parameters"),
        "lr_schedule": read(LrSchedule, value.get("lr_schedule"), "lr_schedule"),
        "hf_dataset": [each for each in sets if each],
    }


def _recipe(found: Any) -> Recipe:
    given = {
        "scale": found.lora_parameters and found.lora_parameters.scale,
        "learning_rate": found.learning_rate,
        "lr_schedule": found.lr_schedule and found.lr_schedule.model_dump(),
        "optimizer_config": found.optimizer_config
        and {str(name): each for name, each in found.optimizer_config.items() if each},
        "mask_prompt": found.mask_prompt,
        "seed": found.seed,
        "clear_cache_threshold": found.clear_cache_threshold,
        "resume_adapter_file": found.resume_adapter_file
        and str(Path.cwd() / Path(found.resume_adapter_file).expanduser()),
        "hf_dataset": tuple(each.model_dump(exclude_none=True) for each in found.hf_dataset),
    }
    return Recipe(**{name: value for name, value in given.items() if value is not None})


def _axes(found: Any) -> dict[str, tuple[Any, ...]]:
    axes = {}
    for axis in AXES:
        first, *rest = axis.mlx_lm
        value = getattr(found, first)
        for name in rest:
            value = value and getattr(value, name)
        if value is not None:
            axes[axis.name] = (value,)
    return axes

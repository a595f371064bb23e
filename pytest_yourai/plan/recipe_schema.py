"""The keys of a recipe file, and what each may be."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

import pydantic

from pytest_yourai.core.axes import AXES
from pytest_yourai.core.axis_types import AXIS_TYPES, model_of
from pytest_yourai.core.config import Optimizer
from pytest_yourai.core.recipe import Schedule

_Number = Annotated[float, pydantic.Field(strict=True, allow_inf_nan=False)]


def _number(value: Any) -> int | float:
    """A number as YAML has it, whole or not: schedules count steps with some."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not math.isfinite(value):
        raise ValueError("it must be a number")
    number: int | float = value
    return number


_AnyNumber = Annotated[int | float, pydantic.PlainValidator(_number)]

_Whole = Annotated[int, pydantic.Field(strict=True)]

_Steps = Annotated[int, pydantic.Field(strict=True, ge=1, le=1_000_000_000)]

_Words = Annotated[str, pydantic.Field(min_length=1)]

_Switch = Annotated[bool, pydantic.Field(strict=True)]


_OptimizerName = Annotated[Optimizer, pydantic.Field(strict=False)]


class _Forbidding(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)


class LrSchedule(_Forbidding):
    """mlx-lm's mapping of a schedule, as its `build_schedule` reads it."""

    name: Schedule
    arguments: Annotated[list[_AnyNumber], pydantic.Field(min_length=1)]
    warmup: Annotated[_Whole, pydantic.Field(ge=0)] = 0
    warmup_init: _Number = 0.0


def _without_pickles(path: str) -> str:
    if path == "pandas":
        raise ValueError("pickled tables can run code: convert them to parquet, csv or json")
    return path


def _without_code(config: dict[str, Any]) -> dict[str, Any]:
    if config.get("trust_remote_code"):
        raise ValueError("code of a data set is never run: leave trust_remote_code out")
    return config


class HubDataset(_Forbidding):
    """mlx-lm's mapping of a Hugging Face data set, as its `load_custom_hf_dataset` reads it."""

    path: Annotated[_Words, pydantic.AfterValidator(_without_pickles)]
    train_split: _Words | None = None
    valid_split: _Words | None = None
    test_split: _Words | None = None
    prompt_feature: _Words | None = None
    completion_feature: _Words | None = None
    text_feature: _Words | None = None
    chat_feature: _Words | None = None
    config: Annotated[dict[str, Any], pydantic.AfterValidator(_without_code)] | None = None


_TrainedAxes: Any = model_of(
    "_TrainedAxes",
    _Forbidding,
    {axis.mlx_lm[0]: (AXIS_TYPES[axis] | None, None) for axis in AXES if len(axis.mlx_lm) == 1},
)

LoraParameters: Any = model_of(
    "LoraParameters",
    _Forbidding,
    {
        "scale": (_Number | None, None),
        **{
            axis.mlx_lm[1]: (AXIS_TYPES[axis] | None, None)
            for axis in AXES
            if axis.mlx_lm[0] == "lora_parameters"
        },
    },
)


class RecipeSchema(_TrainedAxes):  # type: ignore[misc]  # made from the table of axes
    """The keys of mlx_lm.lora.CONFIG_DEFAULTS, and `hf_dataset`; mappings are read by `_parts`."""

    model: _Words | None = None
    data: _Words | None = None
    hf_dataset: Any = None
    train: _Switch | None = None
    test: _Switch | None = None
    test_batches: Annotated[int, pydantic.Field(strict=True, ge=-1)] | None = None
    lora_parameters: Any = None
    optimizer_config: dict[_OptimizerName, dict[str, Any] | None] | None = None
    learning_rate: Annotated[_Number, pydantic.Field(ge=0)] | None = None
    lr_schedule: Any = None
    seed: Annotated[int, pydantic.Field(strict=True, ge=0, lt=2**32)] | None = None
    mask_prompt: _Switch | None = None
    resume_adapter_file: _Words | None = None
    clear_cache_threshold: Annotated[int, pydantic.Field(strict=True, ge=0)] | None = None
    iters: _Steps | None = None
    val_batches: Annotated[int, pydantic.Field(strict=True, ge=-1)] | None = None
    steps_per_report: _Steps | None = None
    steps_per_eval: _Steps | None = None
    save_every: _Steps | None = None
    adapter_path: _Words | None = None
    report_to: _Words | None = None
    project_name: _Words | None = None
    config: None = None
    trust_remote_code: Literal[False] | None = None
    effective_batch_size: Annotated[int, pydantic.Field(strict=True, ge=1)] | None = None

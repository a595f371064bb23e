"""The metadata of a training checkpoint, and the checks before a run resumes from it.

Its tensors are the engine's business.
"""

from __future__ import annotations

import dataclasses
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import pydantic
import pydantic.dataclasses

from pytest_yourai.core.axes import LORA_KEYS
from pytest_yourai.core.config import (
    FineTuneType,
    Optimizer,
    QuantizeChoice,
    comparable_keys,
    parse_quantize,
    recorded_keys,
)
from pytest_yourai.core.errors import CheckpointError
from pytest_yourai.core.paths import is_folder, without_links
from pytest_yourai.core.recipe import Recipe
from pytest_yourai.core.type_adapters import type_adapter
from pytest_yourai.models.identity import model_identity
from pytest_yourai.models.model import Model
from pytest_yourai.training.option_values import VALUE_OPTIONS, TrainValues
from pytest_yourai.training.options import TrainOptions
from pytest_yourai.worker.checkpoint_file import (
    ADAPTERS,
    BEST_FOLDER,
    CHECKPOINT,
    METADATA_KEY,
    PREVIOUS,
    read_run,
    refusal,
)

LOG = "training_log.jsonl"

REPORT_ID = "report_id.txt"


@dataclass(frozen=True, slots=True)
class MeasuredBaseline:
    """Measurements of a configuration's trial. Bytes, before any margin; None: not known."""

    peak_memory_bytes: int
    minimum_memory_bytes: int | None
    active_memory_bytes: int | None
    step_time_s: float | None
    tokens_per_second: float | None


@pydantic.dataclasses.dataclass(frozen=True, kw_only=True, config=pydantic.ConfigDict(strict=True))
class Checkpoint(TrainValues):
    """A run as it was saved after `step` of `max_steps` steps, with its values.

    `data` is None if rows were made up, and `rows` the size of the training set. Otherwise None
    means not known: older versions wrote fewer keys. `baseline` is that of the configuration with
    the `grad_checkpoint` here.
    """

    step: int = pydantic.Field(ge=0)
    model: str
    max_steps: int = pydantic.Field(ge=1)
    batch_size: int = pydantic.Field(ge=1)
    num_layers: int = pydantic.Field(ge=1)
    fine_tune_type: Annotated[FineTuneType | None, pydantic.Field(strict=False)] = None
    optimizer: Annotated[Optimizer | None, pydantic.Field(strict=False)] = None
    lora_keys: Annotated[
        str,
        pydantic.BeforeValidator(
            lambda keys: keys if isinstance(keys, str) else recorded_keys(keys or ())
        ),
    ] = recorded_keys(())
    """A list of paths in the checkpoints of older versions."""
    recipe: Recipe | None = None
    quantize: Annotated[
        QuantizeChoice, pydantic.BeforeValidator(lambda text: text and parse_quantize(text))
    ] = None
    """Quantization of weights that were not stored quantized."""
    rows: int | None = None
    best_step: int | None = None
    best_loss: float | None = None
    """The lowest on the validation set so far, that of the adapters of `best_step`."""
    weights: Literal["local", "synthetic"] | None = None
    model_identity: str | None = None
    baseline: MeasuredBaseline | None = pydantic.Field(default=None, validation_alias="promise")


def read_checkpoint(adapter_path: Path) -> Checkpoint | None:
    """The checkpoint in that folder; None without one. CheckpointError if it is damaged."""
    path = adapter_path / CHECKPOINT
    if not any(os.path.lexists(each) for each in (path, path.with_name(PREVIOUS))):
        return None
    run = read_run(path)
    try:
        return type_adapter(Checkpoint).validate_json(run)
    except pydantic.ValidationError as problem:
        first = problem.errors()[0]
        key = ".".join(map(str, (METADATA_KEY, *first["loc"])))
        raise refusal(
            path, f"{key}: {_lower(first['msg'])}: yourai train did not write it"
        ) from None


def checkpoint_to_resume(options: TrainOptions) -> Checkpoint | None:
    """The checkpoint that the run continues from, None for a new run.

    CheckpointError if a new run would overwrite something, or there is nothing to resume.
    """
    folder = options.adapter_path
    found = read_checkpoint(folder) if is_folder(folder) else None
    if options.resume:
        if found is None:
            raise CheckpointError(
                f"--resume: {folder} has no checkpoint to continue from: leave it out, or name "
                "another --adapter-path"
            )
        return found
    if found is not None:
        raise CheckpointError(
            f"{folder} has a checkpoint at step {found.step:,} of {found.max_steps:,}, and nothing "
            "is overwritten: add --resume, or name another --adapter-path"
        )
    if any((each / ADAPTERS).exists() for each in (folder, folder / BEST_FOLDER)):
        raise CheckpointError(
            f"{folder} has adapters without a checkpoint, and nothing is overwritten: name "
            "another --adapter-path"
        )
    return None


def check_model(checkpoint: Checkpoint, options: TrainOptions, model: Model) -> None:
    """CheckpointError if the adapters are of another model, as far as `model` is here."""
    kind = "synthetic" if model.weights == "synthetic" else "local"
    if checkpoint.weights is not None and checkpoint.weights != kind:
        trained_on, remedy = ("made-up weights", "add --weights synthetic")
        if checkpoint.weights == "local":
            trained_on, remedy = ("real weights", "leave --weights synthetic out")
        raise _refusal(f"--weights: the checkpoint was trained on {trained_on}: {remedy}")
    identity = checkpoint.model_identity
    if model.weights == "hub" or identity is None or identity == model_identity(model):
        return
    name = checkpoint.model
    if name == model.name:
        name = f"another {name} (its config.json or its weights differ)"
    raise _refusal(
        f"--model: the adapters in {options.adapter_path} are of {name}, not of {model.name}: name "
        "the model that they were trained on"
    )


def check_agreement(
    checkpoint: Checkpoint, options: TrainOptions, model: Model, rows: int | None
) -> None:
    """CheckpointError, naming the flag, if a run with `options` could not continue `checkpoint`.

    `rows` is the size of the training set now, None if that is not known.
    """
    check_model(checkpoint, options, model)
    if model.depth is not None and checkpoint.num_layers > model.depth:
        raise _refusal(
            f"--model: the adapters in {options.adapter_path} are on {checkpoint.num_layers} "
            f"layers, and {model.name} has {model.depth}: name the model that they were trained on"
        )
    _check_values(checkpoint, options)
    if rows is not None and checkpoint.rows is not None and rows != checkpoint.rows:
        raise _refusal(
            f"--data: the checkpoint was trained on {checkpoint.rows:,} rows, and there are "
            f"{rows:,} now: name the same data"
        )
    if options.max_steps is not None and options.max_steps < checkpoint.step:
        raise _refusal(
            f"--max-steps: the checkpoint is at step {checkpoint.step:,} already: raise it"
        )


def _check_values(checkpoint: Checkpoint, options: TrainOptions) -> None:
    for name, option in VALUE_OPTIONS.items():
        asked, trained = getattr(options, name), getattr(checkpoint, name)
        is_known = trained is not None or name == "data"
        if not option.must_agree or asked is None or not is_known:
            continue
        compared = comparable_keys if name == LORA_KEYS.name else _comparable
        if compared(asked) != compared(trained):
            raise _refusal(
                f"{option.flag}: the checkpoint was trained with {_shown(trained)}, not with "
                f"{_shown(asked)}: leave it out"
            )


def check_recipe(checkpoint: Checkpoint, recipe: Recipe) -> None:
    """CheckpointError if the run began with another recipe, but for what flags may have decided."""
    trained = checkpoint.recipe
    for each in dataclasses.fields(Recipe) if trained else ():
        if each.name in (*VALUE_OPTIONS, "hf_dataset"):
            continue
        before, now = getattr(trained, each.name), getattr(recipe, each.name)
        if before != now:
            raise _refusal(
                f"--config: the checkpoint was trained with {each.name} {before}, not with {now}: "
                "leave it out"
            )


def _refusal(problem: str) -> CheckpointError:
    return CheckpointError(f"{problem}, or name another --adapter-path")


def _comparable(value: Any) -> Any:
    """Equal for values that mean the same: one folder by different paths."""
    if isinstance(value, str) and is_folder(Path(value)):
        return without_links(Path(value))
    return value


def _shown(value: Any) -> str:
    return "made-up rows" if value is None else str(value)


def _lower(text: str) -> str:
    return f"{text[:1].lower()}{text[1:]}"

"""The checkpoint of a training run: what it says of the run, and whether that can be gone on with.

The tensors in it are the engine's; here only its metadata is read.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import pydantic
from safetensors import SafetensorError, safe_open

from pytest_yourai.core.config import parse_quantize
from pytest_yourai.core.errors import CheckpointError
from pytest_yourai.core.paths import is_folder
from pytest_yourai.models.identity import model_identity
from pytest_yourai.models.resolve import Model
from pytest_yourai.training.settings import FLAGS, MeasuredBaseline, TrainOptions
from pytest_yourai.worker.protocol import ADAPTERS, CHECKPOINT, METADATA_KEY


class Checkpoint(pydantic.BaseModel):
    """What a training run was when it was saved, after `step` of `max_steps` steps.

    `data` is None where rows were made up, and `rows` how many the training set had. Of what may
    be left out None means that it is not known.
    """

    model_config = pydantic.ConfigDict(strict=True, frozen=True)

    step: int = pydantic.Field(ge=0)
    max_steps: int = pydantic.Field(ge=1)
    model: str
    batch_size: int = pydantic.Field(ge=1)
    rank: int = pydantic.Field(ge=1)
    num_layers: int = pydantic.Field(ge=1)
    max_seq_length: int = pydantic.Field(ge=2)
    lora_keys: list[str] | None = None
    learning_rate: float = pydantic.Field(gt=0)
    seed: int = pydantic.Field(ge=0)
    data: str | None
    rows: int | None = None
    grad_checkpoint: bool | None = None
    mask_prompt: bool | None = None
    quantize: str | None = None
    """Bits, or `none`, of weights that did not come quantized."""
    weights: Literal["local", "synthetic"] | None = None
    model_identity: str | None = None
    promise: MeasuredBaseline | None = None
    """Of the configuration with the `grad_checkpoint` that is told here."""
    memory_limit_bytes: int | None = pydantic.Field(default=None, ge=1)
    save_every: int | None = pydantic.Field(default=None, ge=1)
    reload_interval: int | None = pydantic.Field(default=None, ge=1)
    memory_report_interval: int | None = pydantic.Field(default=None, ge=1)
    steps_per_eval: int | None = pydantic.Field(default=None, ge=1)
    val_batches: int | None = pydantic.Field(default=None, ge=-1)
    report_to: str | None = None
    project_name: str | None = None


KEPT = (
    "memory_limit_bytes",
    "save_every",
    "reload_interval",
    "memory_report_interval",
    "steps_per_eval",
    "val_batches",
    "report_to",
    "project_name",
)
"""What training itself does not write into a checkpoint: `about` does."""

_MUST_AGREE = (
    "batch_size",
    "rank",
    "num_layers",
    "max_seq_length",
    "lora_keys",
    "learning_rate",
    "seed",
    "data",
    "mask_prompt",
    "quantize",
)

_MAY_DIFFER = ("max_steps", "grad_checkpoint", *KEPT)
"""None changes which steps are taken: checkpointing computes the same anew."""


def about(
    model: Model, kept: Mapping[str, Any], promise: MeasuredBaseline | None
) -> dict[str, Any]:
    """What a checkpoint is to say of a run of `model`, as JSON has it; `kept` has those of KEPT."""
    return {
        "weights": _kind(model),
        "model_identity": model_identity(model),
        "promise": None if promise is None else dataclasses.asdict(promise),
        **kept,
    }


def read_checkpoint(adapter_path: Path) -> Checkpoint | None:
    """That of the run that was saved there; None where there is none.

    CheckpointError where it cannot be read as one.
    """
    path = adapter_path / CHECKPOINT
    if not path.exists():
        return None
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
        return Checkpoint.model_validate_json(metadata.get(METADATA_KEY, ""))
    except pydantic.ValidationError as problem:
        first = problem.errors()[0]
        key = ".".join(map(str, (METADATA_KEY, *first["loc"])))
        raise CheckpointError(
            f"{path}: {key}: {_lower(first['msg'])}: it is no checkpoint of ours; name another "
            "--adapter-path"
        ) from None
    except (OSError, SafetensorError) as problem:
        raise CheckpointError(
            f"{path} cannot be read as a checkpoint: {problem}; name another --adapter-path"
        ) from None


def checkpoint_to_resume(options: TrainOptions) -> Checkpoint | None:
    """The one to go on from, None for a new run.

    CheckpointError where a new run would overwrite something, or there is nothing to go on from.
    """
    folder = options.adapter_path
    found = read_checkpoint(folder) if is_folder(folder) else None
    if options.resume:
        if found is None:
            raise CheckpointError(
                f"--resume: {folder} has no checkpoint to go on from: leave it out, or name "
                "another --adapter-path"
            )
        return found
    if found is not None:
        raise CheckpointError(
            f"{folder} has a checkpoint at step {found.step:,} of {found.max_steps:,}, and nothing "
            "is overwritten: add --resume, or name another --adapter-path"
        )
    if is_folder(folder) and (folder / ADAPTERS).exists():
        raise CheckpointError(
            f"{folder} has adapters without a checkpoint, and nothing is overwritten: name "
            "another --adapter-path"
        )
    return None


def decided(checkpoint: Checkpoint) -> dict[str, Any]:
    """What the checkpoint says of options, by their names."""
    values = {name: getattr(checkpoint, name) for name in (*_MUST_AGREE, *_MAY_DIFFER)}
    keys, bits = checkpoint.lora_keys, checkpoint.quantize
    return {
        **values,
        "lora_keys": None if keys is None else tuple(keys),
        "quantize": None if bits is None else parse_quantize(bits),
    }


def check_model(checkpoint: Checkpoint, options: TrainOptions, model: Model) -> None:
    """CheckpointError where the adapters are not of `model`, as far as it is here."""
    for problem in _other_model(checkpoint, options, model):
        raise _refusal(problem)


def check_agreement(
    checkpoint: Checkpoint, options: TrainOptions, model: Model, rows: int | None
) -> None:
    """CheckpointError, naming the flag, where a run as asked would not go on with `checkpoint`.

    `rows` is how many the training set has now, None where that is not known.
    """
    for problem in _disagreements(checkpoint, options, model, rows):
        raise _refusal(problem)


def _refusal(problem: str) -> CheckpointError:
    return CheckpointError(f"{problem}, or name another --adapter-path")


def _other_model(checkpoint: Checkpoint, options: TrainOptions, model: Model) -> Iterator[str]:
    kind = _kind(model)
    if checkpoint.weights is not None and checkpoint.weights != kind:
        trained, remedy = ("made-up weights", "add --weights synthetic")
        if checkpoint.weights == "local":
            trained, remedy = ("weights that were there", "leave --weights synthetic out")
        yield f"--weights: the checkpoint was trained on {trained}: {remedy}"
    is_here = model.weights != "hub"
    trained_on = checkpoint.model_identity
    if is_here and trained_on is not None and trained_on != model_identity(model):
        what = checkpoint.model
        if what == model.name:
            what = f"another {what} (its config.json or its weights differ)"
        yield (
            f"--model: the adapters in {options.adapter_path} are of {what}, not of "
            f"{model.name}: name the model that they were trained on"
        )


def _kind(model: Model) -> Literal["local", "synthetic"]:
    """What still is to be downloaded will be local."""
    return "synthetic" if model.weights == "synthetic" else "local"


def _disagreements(
    checkpoint: Checkpoint, options: TrainOptions, model: Model, rows: int | None
) -> Iterator[str]:
    yield from _other_model(checkpoint, options, model)
    if model.depth is not None and checkpoint.num_layers > model.depth:
        yield (
            f"--model: the adapters in {options.adapter_path} are on {checkpoint.num_layers} "
            f"layers, and {model.name} has {model.depth}: name the model that they were trained on"
        )
    values = decided(checkpoint)
    for name in _MUST_AGREE:
        asked, value = getattr(options, name), values[name]
        is_known = value is not None or name == "data"
        if asked is None or not is_known:
            continue
        if _comparable(asked) != _comparable(value):
            yield (
                f"{FLAGS[name]}: the checkpoint was trained with {_said(value)}, not with "
                f"{_said(asked)}: leave it out"
            )
    if rows is not None and checkpoint.rows is not None and rows != checkpoint.rows:
        yield (
            f"--data: the checkpoint was trained on {checkpoint.rows:,} rows, and there are "
            f"{rows:,} now: name the same data"
        )
    if options.max_steps is not None and options.max_steps < checkpoint.step:
        yield f"--max-steps: the checkpoint is at step {checkpoint.step:,} already: raise it"


def _comparable(value: Any) -> Any:
    """Equal for what means the same: keys in any order, folders by whatever way."""
    if isinstance(value, tuple):
        return set(value)
    if isinstance(value, str) and is_folder(Path(value)):
        return Path(value).resolve()
    return value


def _said(value: Any) -> str:
    if isinstance(value, tuple):
        return ", ".join(value)
    return "made-up rows" if value is None else str(value)


def _lower(text: str) -> str:
    return f"{text[:1].lower()}{text[1:]}"


LOG = "training_log.jsonl"

REPORT_ID = "report_id.txt"

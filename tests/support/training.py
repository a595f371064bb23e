"""Options, checkpoints and steps of training, for tests that start none."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from safetensors.numpy import save_file

from pytest_yourai.core.paths import packaged_models
from pytest_yourai.core.recipe import Recipe
from pytest_yourai.models.identity import model_identity
from pytest_yourai.training.options import TrainOptions
from pytest_yourai.training.settings import TrainSettings
from pytest_yourai.training.start import begin
from pytest_yourai.worker.checkpoint_file import CHECKPOINT, metadata_of, seal
from pytest_yourai.worker.protocol import (
    Phase,
    StepSample,
    TrainedStep,
    TrainingParameters,
    TrainingRequest,
)

_Parametrized = TypeVar("_Parametrized", TrainSettings, TrainingRequest)


def changed(usual: _Parametrized, **changes: Any) -> _Parametrized:
    """`usual` with changed fields, of its recipe, of its parameters or of its own."""

    def taken(kind: type[Recipe | TrainingParameters]) -> dict[str, Any]:
        names = {field.name for field in dataclasses.fields(kind)} & changes.keys()
        return {name: changes.pop(name) for name in names}

    recipe = dataclasses.replace(changes.pop("recipe", usual.recipe), **taken(Recipe))
    parameters = dataclasses.replace(usual.parameters, **taken(TrainingParameters))
    return dataclasses.replace(usual, recipe=recipe, parameters=parameters, **changes)


def asked(folder: Path, **values: Any) -> TrainOptions:
    """A dry run of tiny with adapters in `folder`, and what is asked for besides."""
    usual = {"model": "tiny", "weights": "synthetic", "presets": packaged_models()}
    return TrainOptions(**{**usual, "adapter_path": folder / "adapters", **values})


def rows_folder(folder: Path, rows: int = 8) -> Path:
    """Training data: rows of text."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "train.jsonl").write_text('{"text": "the fox"}\n' * rows)
    return folder


def saved(folder: Path, **values: Any) -> Path:
    """An adapter path with a checkpoint of tiny; only its metadata counts here."""
    metadata = {
        "step": 40,
        "max_steps": 200,
        "model": "tiny",
        "batch_size": 2,
        "rank": 4,
        "num_layers": 3,
        "max_seq_length": 32,
        "lora_keys": "self_attn.q_proj,self_attn.v_proj",
        "learning_rate": 2e-5,
        "seed": 7,
        "data": None,
        "rows": None,
        "weights": "synthetic",
        "model_identity": model_identity(begin(asked(folder / "none")).model),
        **values,
    }
    return write_checkpoint(folder, json.dumps(metadata))


def saved_by(settings: TrainSettings) -> Path:
    """The adapter path of that run of tiny, after step 40."""
    config, quantization = settings.config, settings.source.quantization
    return saved(
        settings.adapter_path.parent,
        **settings.about,
        **dataclasses.asdict(config),
        **dataclasses.asdict(settings.parameters),
        learning_rate=settings.recipe.learning_rate,
        seed=settings.recipe.seed,
        mask_prompt=settings.recipe.mask_prompt,
        recipe=dataclasses.asdict(settings.recipe),
        quantize=str(quantization.bits) if quantization else "none",
    )


def write_checkpoint(folder: Path, metadata: str) -> Path:
    path = folder / "adapters"
    path.mkdir(exist_ok=True)
    save_file({"x": np.zeros(1)}, path / CHECKPOINT, metadata=metadata_of(metadata))
    seal(path / CHECKPOINT)
    return path


GB = 1_000_000_000


def a_sample(phase: Phase, **others: Any) -> StepSample:
    """A step of a trial of 0.1 s with 63 tokens."""
    usual: dict[str, Any] = {
        "loss": 5.5,
        "step_time_s": 0.1,
        "peak_memory_bytes": 1,
        "active_memory_bytes": 2,
        "cache_memory_bytes": 3,
        "footprint_bytes": 4,
        "tokens": 63,
    }
    return StepSample(phase, **(usual | others))


def a_step(number: int, **others: Any) -> TrainedStep:
    """A step of 0.1 s with 200 tokens and a loss of 2, in 5 GB."""
    usual: dict[str, Any] = {
        "loss": 2.0,
        "learning_rate": 1e-5,
        "step_time_s": 0.1,
        "tokens": 200,
        "peak_memory_bytes": 15 * GB,
        "active_memory_bytes": 5 * GB,
        "cache_memory_bytes": GB // 5,
        "footprint_bytes": 17 * GB,
    }
    return TrainedStep(number, **(usual | others))

"""Training runs of the real engine in the test's own process."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import mlx.core as mx
from safetensors import safe_open

from pytest_yourai.core.config import LoraConfig
from pytest_yourai.core.recipe import Recipe
from pytest_yourai.models.source import ModelSource, RowReading
from pytest_yourai.worker.checkpoint_file import CHECKPOINT, METADATA_KEY
from pytest_yourai.worker.engine import dataset, weights
from pytest_yourai.worker.engine.adapted_modules import matching_lora_keys
from pytest_yourai.worker.engine.adapters import BaseModel
from pytest_yourai.worker.engine.training import TrainingRun
from pytest_yourai.worker.protocol import (
    SkippedBatch,
    TrainedStep,
    TrainingEnd,
    TrainingEvent,
    TrainingParameters,
    TrainingRequest,
)

from support.models import TINY
from support.training import changed

KEYS = tuple(f"self_attn.{each}_proj" for each in "koqv")

POISON = 3
"""A token whose embedding is not a number in a poisoned model: the word "the"."""


def source(folder: Path) -> ModelSource:
    return ModelSource("model", TINY, str(folder / "model"), False, None, ("qkvo", "all"))


def request(folder: Path, adapters: Path, **changes: Any) -> TrainingRequest:
    usual = TrainingRequest(
        config=LoraConfig(2, 4, 2, 32),
        recipe=Recipe(learning_rate=1e-3, seed=3),
        parameters=TrainingParameters(
            max_steps=12,
            save_every=5,
            steps_per_eval=100,
            val_batches=2,
        ),
        memory_limit_bytes=10**10,
        data=str(folder / "data"),
        adapter_path=str(adapters),
        first_step=0,
        reload_active_bytes=None,
        usual_active_bytes=None,
        reload_footprint_bytes=None,
    )
    return changed(usual, **changes)


def train_with(
    folder: Path,
    asked: TrainingRequest,
    *,
    stop_after: int | None = None,
    is_poisoned: bool = False,
) -> tuple[list[TrainingEvent], TrainingEnd]:
    """Train in an engine of its own; `stop_after` so many steps ask for it."""
    module = weights.load(source(folder))
    if is_poisoned:
        module.model.embed_tokens.weight[POISON] = float("nan")
    paths = matching_lora_keys(module, source(folder))
    model = BaseModel(module, source(folder), paths, mx.get_active_memory())
    reading = RowReading(asked.config.max_seq_length)
    read = dataset.read_data(str(asked.data), str(folder / "model"), reading)
    events: list[TrainingEvent] = []

    def should_stop() -> bool:
        return sum(isinstance(each, TrainedStep | SkippedBatch) for each in events) == stop_after

    rows, validation = read.rows.cached, read.validation
    run = TrainingRun(model, asked, rows, validation, events.append, should_stop)
    return events, run.train()


def losses(events: list[TrainingEvent]) -> list[float]:
    return [event.loss for event in events if isinstance(event, TrainedStep)]


def metadata(adapters: Path) -> dict[str, Any]:
    """Of the run in a checkpoint."""
    with safe_open(adapters / CHECKPOINT, framework="numpy") as file:
        found: dict[str, Any] = json.loads(file.metadata()[METADATA_KEY])
    return found

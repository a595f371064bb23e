"""The settings of a training run, each with where it comes from, for people."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from pytest_yourai.core.axes import (
    DROPOUT,
    FINE_TUNE_TYPE,
    GRAD_ACCUMULATION_STEPS,
    LORA_KEYS,
    OPTIMIZER,
)
from pytest_yourai.core.config import LoraConfig
from pytest_yourai.core.labels import on_or_off
from pytest_yourai.core.recipe import MLX_LM_DEFAULTS, Recipe
from pytest_yourai.core.units import gigabytes
from pytest_yourai.machine import environment
from pytest_yourai.models.source import ModelSource
from pytest_yourai.training.checkpoint import MeasuredBaseline
from pytest_yourai.training.option_values import VALUE_OPTIONS, TrainValues
from pytest_yourai.training.settings import Setting
from pytest_yourai.training.start import Start

DEFAULT = "default"
"""The origin of what nobody has decided."""


@dataclass(frozen=True)
class UsedSettings:
    """What a run uses; `origin_of` names the flag or the source that decides an option."""

    start: Start
    values: TrainValues
    config: LoraConfig
    recipe: Recipe
    source: ModelSource
    quantized_by: str
    origin_of: Callable[[str], str]
    pick: Setting | None = None
    """Which answer of a profile it is."""

    def settings(self) -> Iterator[Setting]:
        """The settings in the order in which they are printed."""

        def setting(option: str, value: Any, name: str | None = None) -> Setting:
            return Setting(name or option, str(value), self.origin_of(option))

        model, values, config = self.start.model, self.values, self.config
        yield Setting("model", model.title, self._model_origin)
        if self.pick is not None:
            yield self.pick
        from_weights = DEFAULT if model.weights == "local" else "--weights"
        yield Setting("weights", model.weights, from_weights)
        how = self.source.quantization or model.foreign_quantization or "not quantized"
        yield Setting("quantization", str(how), self.quantized_by)
        yield setting("data", self.start.data or "made-up rows")
        yield setting("batch_size", config.batch_size)
        if config.rank:
            yield setting("rank", config.rank, "lora_rank")
        layers = setting("num_layers", config.num_layers, "lora_layers")
        if values.num_layers != config.num_layers:
            all_layers = f"{layers.origin}, cut to the {model.depth} layers of the model"
            layers = dataclasses.replace(layers, origin=all_layers)
        yield layers
        yield setting("max_seq_length", config.max_seq_length)
        yield setting("grad_checkpoint", on_or_off(config.grad_checkpoint))
        for axis in (FINE_TUNE_TYPE, OPTIMIZER, LORA_KEYS, DROPOUT, GRAD_ACCUMULATION_STEPS):
            yield setting(axis.name, axis.text(config))
        if (group := self.start.options.group) is not None:
            by = f" by {group.backend}" if group.backend else ""
            where = "this machine" if group.is_here else str(group.hostfile)
            yield Setting("hosts", f"{group.world_size} ranks on {where}{by}", "--hosts")
        yield setting("learning_rate", f"{values.learning_rate:g}")
        yield setting("seed", values.seed)
        yield setting("max_steps", f"{values.max_steps:,}")
        yield setting("save_every", values.save_every)
        yield setting("keep", values.keep)
        yield setting("patience", values.patience or "none")
        yield setting("max_grad_norm", values.max_grad_norm or "no clipping")
        yield setting("max_skipped_batches", values.max_skipped_batches)
        yield setting("reload_interval", values.reload_interval or "as memory requires it")

    def recipe_settings(self) -> Iterator[Setting]:
        """What else the recipe says, where it is not mlx-lm's default."""
        recipe, file = self.recipe, self.start.recipe_file
        origin = file.path.name if file is not None else DEFAULT
        if self.start.checkpoint is not None and self.start.checkpoint.recipe is not None:
            origin = "checkpoint"
        for each in dataclasses.fields(Recipe):
            value = getattr(recipe, each.name)
            if each.name in ("learning_rate", "seed", "hf_dataset"):
                continue  # shown as such, and as data
            if value != getattr(MLX_LM_DEFAULTS, each.name):
                decided = each.name in VALUE_OPTIONS
                shown = on_or_off(value) if isinstance(value, bool) else str(value)
                name = "lora_scale" if each.name == "scale" else each.name
                yield Setting(name, shown, self.origin_of(each.name) if decided else origin)

    @property
    def _model_origin(self) -> str:
        """The recipe where it names the same, else the flag."""
        file = self.start.recipe_file
        is_same = file is not None and self.start.options.model == file.model
        return file.path.name if file is not None and is_same else "--model"


def run_warnings(start: Start, values: TrainValues, config: LoraConfig) -> Iterator[str]:
    """What a user should know before the run."""
    if start.model.weights == "synthetic":
        what = "weights and rows" if start.data is None else "weights"
        yield f"a dry run: {what} are made up, and the adapters are of no use"
    most, accumulated = values.max_steps or 1, config.grad_accumulation_steps
    if left := most % accumulated:
        yield (
            f"of {most:,} steps the last {left:,} change nothing, as gradients accumulate over "
            f"{accumulated:,}: a --max-steps of {most - left:,} trains the same"
        )
    yield from environment.notes(os.environ)
    file = start.recipe_file
    if file is not None:
        yield from file.notes
    if file is not None and file.training.get("test"):
        yield (
            f"{file.path.name}: test: nothing is tested here: run mlx_lm.lora --test with the "
            "adapters"
        )


def used_memory(
    limit_bytes: int | None, origin: str, baseline: MeasuredBaseline | None, measured_by: str
) -> Iterator[Setting]:
    """The budget, and the peak that was measured in a trial."""
    known = gigabytes(limit_bytes) if limit_bytes else "detected"
    yield Setting("budget", known, origin)
    peak = "not known" if baseline is None else gigabytes(baseline.peak_memory_bytes)
    yield Setting("expected peak", peak, measured_by)

"""Refuses what mlx-lm cannot train before anything is loaded: types, optimizers, resumed files."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Iterator
from typing import Any

import mlx.core as mx
from mlx import nn

from pytest_yourai.core.config import FineTuneType, LoraConfig
from pytest_yourai.core.errors import ModelError, RecipeError
from pytest_yourai.models.source import Inspection, ModelSource, Wanted, kind_of_training
from pytest_yourai.models.trainable import untrainable_in_full
from pytest_yourai.worker.engine.adapters import BaseModel, put_back
from pytest_yourai.worker.engine.optimizer import CLASSES, make_optimizer, make_rate
from pytest_yourai.worker.engine.resumed_adapters import read_arrays, resumed_arrays
from pytest_yourai.worker.engine.trainability import freeze, untrainable


def examine(model: nn.Module, source: ModelSource, found: Inspection, wanted: Wanted) -> Inspection:
    """`found` of the lazily built model, with what of `wanted` cannot be trained, and notes.

    RecipeError where no model could be trained so, ModelError where this one cannot at all.
    """
    for config in {each.optimizer: each for each in wanted.configs}.values():
        _check_optimizer(config, wanted)
    path = wanted.recipe.resume_adapter_file
    stored = 0 if path is None else _stored_arrays(path, wanted)
    base = BaseModel(model, source, found.lora_keys, 0)
    freeze(base)
    matches = {_try(base, config, wanted) for config in _tried(wanted)}
    found = dataclasses.replace(found, untrainable=untrainable(base, found, wanted))
    kinds = {kind_of_training(each) for each in wanted.configs}
    if kinds and found.untrainable.keys() >= kinds:
        raise ModelError(next(iter(found.untrainable.values())))
    if path is None:
        return found
    return dataclasses.replace(found, notes=(*found.notes, _resumed_note(min(matches), stored)))


def _tried(wanted: Wanted) -> Iterator[LoraConfig]:
    """What does not go without saying: of LoRA only the arrays of a resumed file."""
    if wanted.recipe.resume_adapter_file is not None:
        yield from wanted.configs
        return
    # With the most layers.
    configs = sorted(wanted.configs, key=lambda each: each.num_layers)
    kinds = {(each.fine_tune_type, each.lora_keys): each for each in configs}
    yield from (each for each in kinds.values() if each.fine_tune_type is not FineTuneType.LORA)


def _try(model: BaseModel, config: LoraConfig, wanted: Wanted) -> int:
    """Make `config` trainable, and undo it; the number of resumed arrays."""
    module, name, recipe = model.module, model.source.name, wanted.recipe
    if config.fine_tune_type is FineTuneType.FULL:
        layers = module.layers[-config.num_layers :]
        if any("scales" in each for layer in layers for each in layer.modules()):
            raise ModelError(
                "fine_tune_type full: " + untrainable_in_full(f"the quantized weights of {name}")
            )
    try:
        with put_back(module), model.adapted(config, recipe):
            path = recipe.resume_adapter_file
            return 0 if path is None else len(resumed_arrays(path, module))
    except ModelError as problem:
        raise ModelError(f"{_where(wanted)}{problem}") from None
    except ValueError as problem:
        raise ModelError(
            f"fine_tune_type {config.fine_tune_type}: mlx-lm cannot adapt {name} ({problem}): use "
            "fine_tune_type lora, or name other modules as lora_keys"
        ) from None


def _stored_arrays(path: str, wanted: Wanted) -> int:
    try:
        return len(read_arrays(path))
    except RecipeError as problem:
        raise RecipeError(f"{_where(wanted)}{problem}") from None


def _resumed_note(trained: int, stored: int) -> str:
    passed_over = "; mlx-lm passes over the others" if trained < stored else ""
    return f"resume_adapter_file: {trained} of its {stored} arrays match{passed_over}"


def _where(wanted: Wanted) -> str:
    return f"{wanted.file}: " if wanted.file else ""


def _check_optimizer(config: LoraConfig, wanted: Wanted) -> None:
    """RecipeError where the arguments of schedule or optimizer are not those that MLX takes."""
    recipe, where = wanted.recipe, _where(wanted)
    try:
        rate = make_rate(recipe)
        if not isinstance(rate, float):
            mx.eval(rate(mx.array(0)))
    except Exception as problem:  # noqa: BLE001 - whatever MLX makes of them
        schedule = recipe.lr_schedule or {}
        raise RecipeError(
            f"{where}lr_schedule: {schedule.get('name')} does not take the arguments "
            f"{schedule.get('arguments')}: {problem}; give those of mlx.optimizers"
        ) from None
    try:
        optimizer = make_optimizer(config, recipe)
        arrays = {"weight": mx.ones((2, 2))}
        mx.eval(optimizer.apply_gradients(arrays, arrays))
    except Exception as problem:  # noqa: BLE001 - whatever MLX makes of them
        raise RecipeError(
            f"{where}optimizer_config: {config.optimizer}: {problem}; give some of "
            f"{', '.join(_arguments(CLASSES[config.optimizer]))}"
        ) from None


def _arguments(optimizer: Any) -> Iterator[str]:
    names = inspect.signature(optimizer).parameters
    return (name for name in names if name != "learning_rate")

"""What mlx-lm cannot train, recognised by the failure of a step that is made but not run."""

from __future__ import annotations

import dataclasses
from importlib.metadata import version

import mlx.core as mx
from mlx import nn
from mlx_lm.tuner.trainer import default_loss

from pytest_yourai.core.config import FineTuneType, LoraConfig
from pytest_yourai.core.errors import ModelError
from pytest_yourai.core.module_sets import members
from pytest_yourai.core.recipe import Recipe
from pytest_yourai.models.dataset_checks import shortened
from pytest_yourai.models.source import Inspection, Wanted, kind_of_training
from pytest_yourai.worker.engine.adapters import BaseModel, put_back

_WIDTH = 33
"""Tokens of the row that a step is made for."""

_OTHER_MODEL = "name another model"

_FEWER_KEYS = "qkvo"


def freeze(base: BaseModel) -> None:
    """Freeze the model as mlx-lm does before it adapts it; ModelError where it cannot."""
    try:
        base.module.freeze()
    except Exception as problem:
        raise ModelError(
            f"{_mlx_lm()} cannot train {base.source.name}: {_text(problem)}; name another model"
        ) from problem


def untrainable(base: BaseModel, found: Inspection, wanted: Wanted) -> dict[str, str]:
    """Why no step can be made, by the kinds of `wanted`, tried with the fewest layers."""
    kinds: dict[str, LoraConfig] = {}
    for config in sorted(wanted.configs, key=lambda each: -each.num_layers):
        if found.trains_anything(config):
            kinds[kind_of_training(config)] = config
    reasons = {kind: _why(base, found, each, wanted.recipe) for kind, each in kinds.items()}
    return {kind: why for kind, why in reasons.items() if why is not None}


def _why(base: BaseModel, found: Inspection, config: LoraConfig, recipe: Recipe) -> str | None:
    """Why `config` cannot be trained, and what can; None where it can be."""
    name, is_full = base.source.name, config.fine_tune_type is FineTuneType.FULL
    if not (found.module_layers or is_full):
        return f"{_mlx_lm()} makes adapters for no module of {name}; {_OTHER_MODEL}"
    problem = _failure(base, config, recipe)
    if problem is None:
        return None
    if is_full:
        return f"{_mlx_lm()} cannot train whole layers of {name} here: {problem}; {_OTHER_MODEL}"
    fewer = dataclasses.replace(config, lora_keys=_FEWER_KEYS, num_layers=found.num_hidden_layers)
    paths = members(_FEWER_KEYS, found.module_layers.keys())
    smaller = dataclasses.replace(base, lora_keys={_FEWER_KEYS: paths})
    if paths and config.lora_keys != _FEWER_KEYS and _failure(smaller, fewer, recipe) is None:
        return (
            f"{_mlx_lm()} cannot train adapters on {config.lora_keys} of {name} here: {problem}; "
            f"use {_FEWER_KEYS} as lora_keys, or {_OTHER_MODEL}"
        )
    return f"{_mlx_lm()} cannot train {name} here: {problem}; {_OTHER_MODEL}"


def _failure(base: BaseModel, config: LoraConfig, recipe: Recipe) -> str | None:
    """What MLX or the model raises when a step of `config` is made; None for nothing."""
    module = base.module
    tokens, lengths = mx.zeros((1, _WIDTH), mx.int32), mx.array([[0, _WIDTH - 1]])
    try:
        like = dataclasses.replace(recipe, resume_adapter_file=None)
        with put_back(module), base.adapted(config, like):
            module.train()
            step = nn.value_and_grad(module, default_loss)
            # As mlx-lm does: what a model evaluates meanwhile is refused.
            mx.compile(lambda *batch: step(module, *batch), inputs=module.state)(tokens, lengths)
    except Exception as problem:  # noqa: BLE001 - whatever a model raises
        return _text(problem)
    return None


def _text(problem: Exception) -> str:
    return shortened(f"{type(problem).__name__}: {problem}").rstrip(".")


def _mlx_lm() -> str:
    return f"mlx-lm {version('mlx-lm')}"

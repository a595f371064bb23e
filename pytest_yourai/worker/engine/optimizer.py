"""The optimizer of a training, made as mlx_lm.lora makes it."""

from __future__ import annotations

from collections.abc import Callable

import mlx.core as mx
from mlx import optimizers
from mlx_lm.tuner.utils import build_schedule

from pytest_yourai.core.config import LoraConfig, Optimizer
from pytest_yourai.core.recipe import Recipe

CLASSES = {
    Optimizer.ADAM: optimizers.Adam,
    Optimizer.ADAMW: optimizers.AdamW,
    Optimizer.MUON: optimizers.Muon,
    Optimizer.SGD: optimizers.SGD,
    Optimizer.ADAFACTOR: optimizers.Adafactor,
}


def make_optimizer(config: LoraConfig, recipe: Recipe) -> optimizers.Optimizer:
    """The optimizer of `config`, with the recipe's arguments and its schedule, if it has one."""
    arguments = recipe.optimizer_arguments(config)
    return CLASSES[config.optimizer](learning_rate=make_rate(recipe), **arguments)


def make_rate(recipe: Recipe) -> float | Callable[[mx.array], mx.array]:
    """The learning rate, or its schedule."""
    schedule = recipe.lr_schedule
    return recipe.learning_rate if schedule is None else build_schedule(dict(schedule))

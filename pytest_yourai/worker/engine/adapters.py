"""LoRA adapters for the MLX engine, put on as mlx-lm does."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import mlx.core as mx
from mlx import nn
from mlx_lm.tuner.utils import linear_to_lora_layers

from pytest_yourai.core.config import LORA_DROPOUT, LORA_SCALE, LoraConfig


def lora_parameters(config: LoraConfig, lora_keys: Sequence[str]) -> dict[str, Any]:
    """What mlx-lm calls so: `lora_keys` are paths within a layer."""
    return {
        "rank": config.rank,
        "scale": LORA_SCALE,
        "dropout": LORA_DROPOUT,
        "keys": list(lora_keys),
    }


@contextmanager
def adapted(
    model: nn.Module, config: LoraConfig, lora_keys: Sequence[str], seed: int
) -> Iterator[None]:
    """Put adapters on, the same ones for the same seed; the layers' method is left as it was."""
    layer_type = type(model.layers[0])
    call = layer_type.__call__
    mx.random.seed(seed)
    linear_to_lora_layers(model, config.num_layers, lora_parameters(config, lora_keys))
    try:
        yield
    finally:
        # mlx-lm's grad_checkpoint wraps this once more at each train() and never restores it.
        layer_type.__call__ = call

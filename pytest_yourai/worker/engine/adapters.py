"""LoRA adapters as mlx-lm makes them, and the file that it writes beside them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import mlx.core as mx
from mlx import nn
from mlx_lm.tuner.utils import linear_to_lora_layers

from pytest_yourai.core.config import LORA_DROPOUT, LORA_SCALE, OPTIMIZER, LoraConfig
from pytest_yourai.worker.protocol import TrainingRequest


@dataclass(frozen=True)
class BaseModel:
    """A loaded model to train: its name, its folder or name, and the modules that get adapters."""

    module: nn.Module
    name: str
    path: str
    quantized_on_load: str | None
    """Bits, or `none`; None where its weights came quantized."""
    lora_keys: tuple[str, ...]


def lora_parameters(config: LoraConfig, lora_keys: Sequence[str]) -> dict[str, Any]:
    """The entry of this name in mlx-lm's configuration; `lora_keys` are paths within a layer."""
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
    """Put adapters on, the same for the same seed; restores the layers' class, not the model."""
    layer_type = type(model.layers[0])
    call = layer_type.__call__
    mx.random.seed(seed)
    linear_to_lora_layers(model, config.num_layers, lora_parameters(config, lora_keys))
    try:
        yield
    finally:
        # mlx-lm's grad_checkpoint wraps this once more at each train() and never restores it.
        layer_type.__call__ = call


def adapter_config(model: BaseModel, request: TrainingRequest) -> dict[str, Any]:
    """The content of adapter_config.json, which mlx-lm writes, and reads to load adapters."""
    parameters = request.parameters
    return {
        "model": model.path,
        "train": True,
        "fine_tune_type": "lora",
        "optimizer": OPTIMIZER,
        "data": request.data,
        "seed": parameters.seed,
        "num_layers": request.config.num_layers,
        "batch_size": request.config.batch_size,
        "iters": parameters.max_steps,
        "learning_rate": parameters.learning_rate,
        "max_seq_length": request.config.max_seq_length,
        "grad_checkpoint": request.config.grad_checkpoint,
        "mask_prompt": parameters.mask_prompt,
        "adapter_path": request.adapter_path,
        "save_every": parameters.save_every,
        "lora_parameters": lora_parameters(request.config, model.lora_keys),
    }

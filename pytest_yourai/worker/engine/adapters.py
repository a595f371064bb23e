"""The loaded base model, LoRA adapters as mlx-lm makes them, and their configuration file."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import mlx.core as mx
from mlx import nn
from mlx_lm.tuner.utils import linear_to_lora_layers

from pytest_yourai.core.config import LORA_DROPOUT, LORA_SCALE, OPTIMIZER, LoraConfig
from pytest_yourai.models.source import ModelSource
from pytest_yourai.worker.protocol import TrainingRequest


@dataclass(frozen=True, slots=True)
class BaseModel:
    """A loaded model. `lora_keys` are the paths within a layer of the modules that get adapters."""

    module: nn.Module
    source: ModelSource
    lora_keys: tuple[str, ...]
    active_bytes: int
    """MLX's active memory after loading, the base of all trials."""

    def lora_parameters(self, config: LoraConfig) -> dict[str, Any]:
        """The entry of this name in mlx-lm's configuration."""
        return {
            "rank": config.rank,
            "scale": LORA_SCALE,
            "dropout": LORA_DROPOUT,
            "keys": list(self.lora_keys),
        }

    @contextmanager
    def adapted(self, config: LoraConfig, seed: int) -> Iterator[None]:
        """Add adapters, the same for the same seed; restores the layers' class, not the module."""
        layer_type = type(self.module.layers[0])
        call = layer_type.__call__
        mx.random.seed(seed)
        linear_to_lora_layers(self.module, config.num_layers, self.lora_parameters(config))
        try:
            yield
        finally:
            # mlx-lm's grad_checkpoint wraps this once more at each train() and never restores it.
            layer_type.__call__ = call


def adapter_config(model: BaseModel, request: TrainingRequest) -> dict[str, Any]:
    """The content of adapter_config.json, which mlx-lm writes, and reads to load adapters."""
    config, parameters = request.config, request.parameters
    return {
        "model": model.source.folder or model.source.name,
        "train": True,
        "fine_tune_type": "lora",
        "optimizer": OPTIMIZER,
        "data": request.data,
        "seed": parameters.seed,
        "num_layers": config.num_layers,
        "batch_size": config.batch_size,
        "iters": parameters.max_steps,
        "learning_rate": parameters.learning_rate,
        "max_seq_length": config.max_seq_length,
        "grad_checkpoint": config.grad_checkpoint,
        "mask_prompt": parameters.mask_prompt,
        "adapter_path": request.adapter_path,
        "save_every": parameters.save_every,
        "lora_parameters": model.lora_parameters(config),
    }

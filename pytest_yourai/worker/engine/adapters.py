"""The loaded base model, LoRA adapters as mlx-lm makes them, and their configuration file."""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import mlx.core as mx
from mlx import nn
from mlx.utils import tree_flatten
from mlx_lm.tuner.utils import linear_to_lora_layers

from pytest_yourai.core.config import ALL_KEYS, FineTuneType, LoraConfig
from pytest_yourai.core.recipe import Recipe
from pytest_yourai.models.source import ModelSource
from pytest_yourai.worker.engine.resumed_adapters import resumed_arrays
from pytest_yourai.worker.protocol import TrainingRequest


@dataclass(frozen=True, slots=True)
class BaseModel:
    """A loaded model. `lora_keys` maps the choices of a LoraConfig to paths within a layer."""

    module: nn.Module
    source: ModelSource
    lora_keys: Mapping[str, tuple[str, ...]]
    active_bytes: int
    """MLX's active memory after loading, the base of all trials."""

    @contextmanager
    def adapted(self, config: LoraConfig, recipe: Recipe) -> Iterator[set[str]]:
        """Make trainable what `config` trains, the same for the same seed.

        Adds adapters, or unfreezes layers. Yields the names of the model's own parameters that
        change. Restores the layers' class, not the module: see `put_back`.
        """
        layer_type = type(self.module.layers[0])
        call = layer_type.__call__
        own = {id(module): path for path, module in self.module.named_modules()}
        mx.random.seed(recipe.seed)
        changed: set[str] = set()
        if config.fine_tune_type is FineTuneType.FULL:
            for layer in self.module.layers[-config.num_layers :]:
                layer.unfreeze()
            changed |= {name for name, _ in tree_flatten(self.module.trainable_parameters())}
        else:
            linear_to_lora_layers(
                self.module,
                config.num_layers,
                self.lora_parameters(config, recipe),
                use_dora=config.fine_tune_type is FineTuneType.DORA,
            )
        if recipe.resume_adapter_file is not None:
            resumed = resumed_arrays(recipe.resume_adapter_file, self.module)
            changed |= set(_names_before(own, self.module, resumed))
            self.module.load_weights(list(resumed.items()), strict=False)
        try:
            yield changed
        finally:
            # mlx-lm's grad_checkpoint wraps this once more at each train() and never restores it.
            layer_type.__call__ = call

    def lora_parameters(self, config: LoraConfig, recipe: Recipe) -> dict[str, Any] | None:
        """The entry of this name in mlx-lm's configuration."""
        paths = () if config.lora_keys == ALL_KEYS else self.lora_keys[config.lora_keys]
        return recipe.lora_parameters(config, paths)


@contextmanager
def put_back(module: nn.Module) -> Iterator[None]:
    """Give a model its own modules back at the end, frozen, as they were before adapters."""
    leaves = module.leaf_modules()
    try:
        yield
    finally:
        module.update_modules(leaves)
        module.freeze()
        module.eval()


def _names_before(
    own: Mapping[int, str], adapted: nn.Module, names: Container[str]
) -> Iterator[str]:
    """The names that parameters of the base had before adapters took its modules in."""
    for path, module in adapted.named_modules():
        if (before := own.get(id(module))) is not None:
            yield from (f"{before}.{key}" for key in module if f"{path}.{key}" in names)


def adapter_config(model: BaseModel, request: TrainingRequest) -> dict[str, Any]:
    """The content of adapter_config.json, which mlx-lm writes, and reads to load adapters."""
    config, recipe, parameters = request.config, request.recipe, request.parameters
    return {
        **recipe.as_mlx_lm(config),
        "lora_parameters": model.lora_parameters(config, recipe),
        "model": model.source.folder or model.source.name,
        "train": True,
        "data": request.data,
        "iters": parameters.max_steps,
        "adapter_path": request.adapter_path,
        "save_every": parameters.save_every,
    }

"""The recipe of a training: what `mlx_lm.lora --config` takes, by its names."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from pytest_yourai.core.axes import AXES, LORA_KEYS, VARIANTS
from pytest_yourai.core.config import (
    ALL_KEYS,
    MLX_LM_MAX_SEQ_LENGTH,
    FineTuneType,
    LoraConfig,
)

Schedule = Literal["cosine_decay", "exponential_decay", "linear_schedule", "step_decay"]
"""The schedules of mlx.optimizers.schedulers that mlx-lm's `build_schedule` can make."""

ITERATIONS = 1000
"""mlx-lm's default number of iterations."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """What is the same in all trials of a sweep; a LoraConfig is the part that varies.

    Names and defaults are mlx-lm's (mlx_lm.lora.CONFIG_DEFAULTS). `lr_schedule` is its mapping of
    name, arguments and warm-up, `optimizer_config` maps optimizers to arguments of their classes
    in `mlx.optimizers`, `clear_cache_threshold` is in bytes.
    """

    scale: float = 20.0
    learning_rate: float = 1e-5
    lr_schedule: Mapping[str, Any] | None = None
    optimizer_config: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    mask_prompt: bool = False
    seed: int = 0
    clear_cache_threshold: int = 0
    resume_adapter_file: str | None = None
    hf_dataset: tuple[Mapping[str, Any], ...] = ()
    """mlx-lm's mappings of Hugging Face data sets, which win over `data`; empty without any."""

    @property
    def data(self) -> str | None:
        """A name for the data of `hf_dataset`; None without any."""
        paths = ", ".join(str(each["path"]) for each in self.hf_dataset)
        return f"hf_dataset {paths}" if paths else None

    def optimizer_arguments(self, config: LoraConfig) -> Mapping[str, Any]:
        """Arguments of the optimizer of `config`, beside its learning rate."""
        return self.optimizer_config.get(config.optimizer, {})

    def lora_parameters(
        self, config: LoraConfig, keys: tuple[str, ...] = ()
    ) -> dict[str, Any] | None:
        """mlx-lm's entry of this name; None for full fine-tuning.

        Adapters are on the modules of the paths `keys`, or on all.
        """
        if config.fine_tune_type is FineTuneType.FULL:
            return None
        parameters = {"rank": config.rank, "scale": self.scale, "dropout": config.dropout}
        return {**parameters, "keys": list(keys)} if keys else parameters

    def as_mlx_lm(self, config: LoraConfig, keys: tuple[str, ...] = ()) -> dict[str, Any]:
        """The entries of mlx-lm's configuration that say what is trained, and how."""
        own = {axis.mlx_lm[0]: axis.stored(config) for axis in AXES if len(axis.mlx_lm) == 1}
        return {
            **own,
            "lora_parameters": self.lora_parameters(config, keys),
            "learning_rate": self.learning_rate,
            "lr_schedule": None if self.lr_schedule is None else dict(self.lr_schedule),
            "optimizer_config": {name: dict(each) for name, each in self.optimizer_config.items()},
            "mask_prompt": self.mask_prompt,
            "seed": self.seed,
            "clear_cache_threshold": self.clear_cache_threshold,
            "resume_adapter_file": self.resume_adapter_file,
        }


MLX_LM_DEFAULTS = Recipe()

MLX_LM_CONFIG = LoraConfig(4, 8, 16, MLX_LM_MAX_SEQ_LENGTH, lora_keys=ALL_KEYS)
"""mlx-lm's own values of the axes."""

_ALWAYS = ("max_seq_length", "grad_checkpoint", "optimizer", "lora_scale", "learning_rate", "seed")
"""Settings that every profile names; the others only where they are not mlx-lm's defaults."""


def recipe_settings(recipe: Recipe, configs: Sequence[LoraConfig]) -> dict[str, Any]:
    """The recipe as the settings of a profile: axes, with lists where they vary, and the rest.

    Modules are named by their paths there, once they are known.
    """
    usual, default = MLX_LM_DEFAULTS, LoraConfig(1, 1, 1, 2)
    found: dict[str, Any] = {}
    for axis in VARIANTS:
        values = sorted({axis.stored(config) for config in configs})
        if axis is not LORA_KEYS and (axis.key in _ALWAYS or values != [axis.stored(default)]):
            found[axis.key] = values[0] if len(values) == 1 else values
    for each in dataclasses.fields(Recipe):
        name = "lora_scale" if each.name == "scale" else each.name
        value = getattr(recipe, each.name)
        if name in _ALWAYS or value != getattr(usual, each.name):
            found[name] = list(value) if isinstance(value, tuple) else value
    return found

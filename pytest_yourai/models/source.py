"""The base model of a sweep: as a worker is to build it, and as it found it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from pytest_yourai.core.config import FineTuneType, LoraConfig, Quantization
from pytest_yourai.core.figures import Bytes, Count, Layers, Parameters
from pytest_yourai.core.labels import number_ranges
from pytest_yourai.core.recipe import Recipe
from pytest_yourai.models.architecture import InspectedShapes
from pytest_yourai.models.config_keys import stored_quantization
from pytest_yourai.models.dataset_lengths import TrainingData
from pytest_yourai.models.step_profile import StepProfile


@dataclass(frozen=True, slots=True)
class ModelSource:
    """The base model that a worker holds. `folder` has its weights unless they are `synthetic`."""

    name: str
    architecture: Mapping[str, Any]
    folder: str | None
    synthetic: bool
    quantization: Quantization | None
    lora_keys: tuple[str, ...]
    """Choices of modules that get adapters, as LoraConfigs name them."""
    trust_remote_code: bool = False
    """True if Python files of the folder may be run, as mlx-lm's `trust_remote_code`."""
    requires_lora_keys: bool = True
    """False where nobody asked for them: a model that lacks them in a layer gets others instead."""
    stored_bytes: Bytes | None = None
    """The weights' bytes in the folder; None without them, or if they are quantized on load."""

    @property
    def quantized_on_load(self) -> Quantization | None:
        """The quantization to load in, if the weights are stored in full precision."""
        return None if stored_quantization(self.architecture) else self.quantization


BadRows = Literal["refuse", "skip"]
"""What happens to rows that cannot be trained on."""


@dataclass(frozen=True, slots=True)
class RowReading:
    """How training will read the rows: prompts masked or not, each cut to `max_seq_length`."""

    max_seq_length: int = 2048
    mask_prompt: bool = False
    bad_rows: BadRows = "refuse"
    hf_dataset: tuple[Mapping[str, Any], ...] = ()
    """The data sets to read instead of data by its name; see Recipe."""

    @classmethod
    def of(cls, recipe: Recipe, max_seq_length: int, bad_rows: BadRows) -> RowReading:
        """How training with `recipe` reads them."""
        return cls(max_seq_length, recipe.mask_prompt, bad_rows, recipe.hf_dataset)


READ_BY_DEFAULT = RowReading()


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be trained: an inspection refuses what mlx-lm cannot train.

    `file` has the recipe, None without one.
    """

    configs: tuple[LoraConfig, ...]
    recipe: Recipe
    file: str | None = None
    max_seq_lengths: tuple[int, ...] = ()

    @classmethod
    def of(cls, configs: Iterable[LoraConfig], recipe: Recipe, file: str | None = None) -> Wanted:
        """Without what neither the trained arrays nor the operations of a step depend on."""
        configs = tuple(configs)
        alike = (
            dataclasses.replace(
                each,
                batch_size=1,
                max_seq_length=2,
                grad_accumulation_steps=min(each.grad_accumulation_steps, 2),
            )
            for each in configs
        )
        lengths = dict.fromkeys(each.max_seq_length for each in configs)
        return cls(tuple(dict.fromkeys(alike)), recipe, file, tuple(lengths))


def kind_of_training(config: LoraConfig) -> str:
    """Equal where the same kind of arrays of the same modules is trained."""
    return f"{config.fine_tune_type} {config.lora_keys}"


@dataclass(frozen=True, slots=True)
class Inspection:
    """Facts of the lazily built model, before anything is allocated."""

    num_hidden_layers: Layers
    parameters: Parameters
    lora_keys: Mapping[str, tuple[str, ...]]
    """Paths within a layer of the modules that get adapters, by the choice in a LoraConfig."""
    sizes: Mapping[str, InspectedShapes] = field(default_factory=dict)
    """Exact shapes, for the estimate, by the same; empty if no model was built, as in a replay."""
    data: TrainingData | None = None
    """None for synthetic rows."""
    embedding_rows: Count | None = None
    """Ids that the model can embed; None where that is not known."""
    notes: tuple[str, ...] = ()
    """Lines for people."""
    steps: Mapping[str, StepProfile] = field(default_factory=dict)
    """Profiles of the steps that are wanted, as far as they could be traced, by `step_kind`."""
    module_layers: Mapping[str, tuple[Count, ...]] = field(default_factory=dict)
    """Numbers of the layers that have a module which can get an adapter, by its path within them.

    The first layer has the number 0; empty as `sizes`.
    """
    untrainable: Mapping[str, str] = field(default_factory=dict)
    """Why no step can be made, by `kind_of_training`; none for what can be trained."""

    @property
    def adapted_modules(self) -> dict[str, dict[str, str]] | None:
        """The layers that have each adapted module, in words, by the choice; None if unknown."""
        if not self.module_layers:
            return None
        return {
            choice: {path: self._layers_of(path) for path in paths}
            for choice, paths in self.lora_keys.items()
        }

    def _layers_of(self, path: str) -> str:
        layers = self.module_layers.get(path, ())
        return number_ranges(layers) if 0 < len(layers) < self.num_hidden_layers else "all"

    def layers_without_adapters(self, config: LoraConfig) -> tuple[int, ...]:
        """Numbers of those of its last layers in which `config` adapts nothing; none if unknown."""
        if not self.module_layers or config.fine_tune_type is FineTuneType.FULL:
            return ()
        adapted = {
            number
            for path in self.lora_keys.get(config.lora_keys, ())
            for number in self.module_layers.get(path, ())
        }
        return tuple(number for number in self._last_layers(config) if number not in adapted)

    def _last_layers(self, config: LoraConfig) -> range:
        layers = self.num_hidden_layers
        return range(max(0, layers - config.num_layers), layers)

    def trains_anything(self, config: LoraConfig) -> bool:
        """False where `config` adapts nothing: neither in its layers, nor outside of all."""
        paths = self.lora_keys.get(config.lora_keys, ())
        if not self.module_layers or any(path not in self.module_layers for path in paths):
            return True
        return len(self.layers_without_adapters(config)) < len(self._last_layers(config))

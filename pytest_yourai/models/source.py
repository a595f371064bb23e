from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pytest_yourai.core.config import Quantization
from pytest_yourai.models.architecture import InspectedShapes
from pytest_yourai.models.dataset_lengths import TrainingData


@dataclass(frozen=True, slots=True)
class ModelSource:
    """Which base model to hold. `folder` has weights unless `synthetic`."""

    name: str
    architecture: Mapping[str, Any]
    folder: str | None
    synthetic: bool
    quantization: Quantization | None
    lora_keys: tuple[str, ...] | None
    trust_remote_code: bool = False
    """Whether Python files of the folder may be run, as mlx-lm's `trust_remote_code`."""


@dataclass(frozen=True, slots=True)
class Inspection:
    """What the lazily built model says of itself, before anything is allocated."""

    num_hidden_layers: int
    parameters: int
    lora_keys: tuple[str, ...]
    """Paths within a layer of the modules that get adapters."""
    sizes: InspectedShapes | None = None
    """Exact, for the estimate; None where nothing was built, as in a replay."""
    data: TrainingData | None = None
    """None where rows are made up."""

"""The base model of a sweep: as a worker is to build it, and as it found it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pytest_yourai.core.config import Quantization
from pytest_yourai.core.figures import Bytes, Count, Parameters
from pytest_yourai.models.architecture import InspectedShapes, stored_quantization
from pytest_yourai.models.dataset_lengths import TrainingData


@dataclass(frozen=True, slots=True)
class ModelSource:
    """The base model that a worker holds. `folder` has its weights unless they are `synthetic`."""

    name: str
    architecture: Mapping[str, Any]
    folder: str | None
    synthetic: bool
    quantization: Quantization | None
    lora_keys: tuple[str, ...] | None
    trust_remote_code: bool = False
    """True if Python files of the folder may be run, as mlx-lm's `trust_remote_code`."""
    requires_lora_keys: bool = True
    """False: a model without one of `lora_keys` gets the usual ones instead."""
    stored_bytes: Bytes | None = None
    """The weights' bytes in the folder; None without them, or if they are quantized on load."""

    @property
    def quantized_on_load(self) -> Quantization | None:
        """The quantization to load in, if the weights are stored in full precision."""
        return None if stored_quantization(self.architecture) else self.quantization


@dataclass(frozen=True, slots=True)
class Inspection:
    """Facts of the lazily built model, before anything is allocated."""

    num_hidden_layers: Count
    parameters: Parameters
    lora_keys: tuple[str, ...]
    """Paths within a layer of the modules that get adapters."""
    sizes: InspectedShapes | None = None
    """Exact shapes, for the estimate; None if no model was built, as in a replay."""
    data: TrainingData | None = None
    """None for synthetic rows."""
    notes: tuple[str, ...] = ()
    """Lines for people."""

"""Minimum memory of a LoRA training step, by arithmetic on the model's config.json. Bytes.

Weights, adapters and optimizer state are counted here; `step_memory` adds what a step computes with
them. tests/performance/estimate.py prints the errors on models and lengths that were not fitted.
"""

from __future__ import annotations

import dataclasses
import operator
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, get_args

from pytest_yourai.core.config import (
    GROUP_SIZES,
    QUANTIZATION_BITS,
    LoraConfig,
    key_names,
)
from pytest_yourai.core.device import Backend
from pytest_yourai.estimate.step_memory import StepMemory
from pytest_yourai.models.architecture import (
    PAGE_BYTES,
    Architecture,
    InspectedShapes,
    attention_heads,
    element_bytes,
    flat_config,
    read_architecture_shapes,
    whole,
)
from pytest_yourai.models.source import ModelSource

_FULL_PRECISION_BITS = (16, 32)

_GROUP_SIZES = (16, *GROUP_SIZES)
"""Group sizes of the affine mode and of nvfp4."""

_ADAPTER_BYTES = 4
"""Adapters are float32 whatever the model is (mlx_lm/tuner/lora.py)."""

_OPTIMIZER_ARRAYS = {"adam": 2, "adamw": 2, "muon": 1, "sgd": 0, "adafactor": 0}
"""Arrays of an adapter's size that each of mlx-lm's optimizers keeps with its defaults."""

_RELATIVE_ERRORS: dict[Backend, float] = {"cuda": 0.02, "cpu": 0.03, "metal": 0.06}
"""One standard deviation: measured on one H200 and on Linux CPUs, assumed for Metal."""

_ERROR_OF_CHECKPOINTING: dict[Backend, float] = {"cuda": 0.03, "cpu": 0.2, "metal": 0.1}

_ERROR_OF_OTHER_ARCHITECTURES = 0.10

_MARGIN_OF_OTHER_ARCHITECTURES = 0.15
"""Share of the minimum added to the usual margin, which gemma2 and phi3 exceeded."""


@dataclass(frozen=True, slots=True)
class MemoryEstimate:
    """Memory of one LoRA training step at its highest moment, by component. Bytes.

    The components from `weights_bytes` to `overhead_bytes` add up to `minimum_bytes`.
    """

    weights_bytes: int
    """Weights of the base model, quantized or not."""
    adapters_bytes: int
    """LoRA matrices A and B, float32."""
    gradients_bytes: int
    """Gradients of the adapters that are alive at that moment."""
    optimizer_bytes: int
    """State that the optimizer keeps for the adapters."""
    activations_bytes: int
    """Arrays kept or recomputed for the backward pass."""
    logits_bytes: int
    """Scores over the vocabulary and their gradients."""
    overhead_bytes: int
    """Arrays in flight on the device, and the unused rest of allocated pages."""
    margin_bytes: int
    """Most that a measured minimum may be above the estimate."""
    relative_error: float
    """Typical error (one standard deviation) on models that were not fitted: 0.02 is 2 %."""

    @property
    def minimum_bytes(self) -> int:
        """MLX peak of a training step under the lowest memory limit, in bytes."""
        return (
            self.weights_bytes
            + self.adapters_bytes
            + self.gradients_bytes
            + self.optimizer_bytes
            + self.activations_bytes
            + self.logits_bytes
            + self.overhead_bytes
        )

    @property
    def conservative_bytes(self) -> int:
        """Minimum plus margin, in bytes: no measured minimum was above it."""
        return self.minimum_bytes + self.margin_bytes


def estimate_training_memory(
    architecture: Mapping[str, Any],
    *,
    batch_size: int,
    lora_rank: int,
    lora_layers: int,
    seq_length: int,
    quantization_bits: int | None,
    group_size: int = 64,
    lora_keys: Iterable[str] | None = None,
    grad_checkpoint: bool = False,
    optimizer: str = "adam",
    backend: Backend | None = None,
    device: str = "",
    inspected: InspectedShapes | None = None,
) -> MemoryEstimate:
    """Estimate the memory, in bytes, of mlx-lm LoRA training on [batch_size, seq_length] tokens.

    `architecture` is a config.json mapping. `lora_layers` counts adapted layers from the last one;
    more than the model has mean all. `quantization_bits` None, 16 or 32 is full precision;
    `group_size` is in weights. `lora_keys` are paths or last components of linear layers, None all
    of them, as in mlx-lm. `backend` None is Metal on a Mac and CUDA elsewhere, `device` the GPU's
    name. `inspected` shapes of the built model replace those of the mapping.

    TypeError for a size that is no integer, ValueError for one too small, an empty `lora_keys`, or
    an unknown quantization, optimizer or backend; ModelError for a mapping that lacks a size or has
    several experts, and for a key that names no linear layer.
    """
    counts = {"batch_size": batch_size, "lora_rank": lora_rank, "lora_layers": lora_layers}
    batch, rank, layers = (_whole(name, value, 1) for name, value in counts.items())
    quantization = _checked_quantization(quantization_bits, group_size)
    keys = _checked_keys(lora_keys)
    arrays = _OPTIMIZER_ARRAYS[_one_of("optimizer", optimizer, tuple(_OPTIMIZER_ARRAYS))]
    backend = usual_backend() if backend is None else _one_of("backend", backend, get_args(Backend))
    shapes = read_architecture_shapes(architecture)
    built = inspected or _described(shapes, keys, quantization)
    length = _whole("seq_length", seq_length, 2)
    config = LoraConfig(batch, rank, layers, length, grad_checkpoint)
    step = StepMemory(shapes, built.linears, config, backend, device)
    paged = inspected is None and backend != "cpu"
    return _estimate(step, built, quantization, arrays, is_paged=paged)


def _whole(name: str, value: Any, least: int) -> int:
    """`value` as an int, NumPy's integers included; else TypeError or ValueError.

    A bool is not a number here.
    """
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise TypeError(f"{name} must be an integer, not {value!r}")
    number = operator.index(value)
    if number < least:
        raise ValueError(f"{name} must be at least {least}, not {number}")
    return number


def _one_of(name: str, value: Any, allowed: tuple[Any, ...]) -> Any:
    """`value` if it is `allowed`; ValueError that lists these otherwise."""
    if value not in allowed:
        raise ValueError(f"{name} must be one of {', '.join(map(str, allowed))}, not {value}")
    return value


def _checked_keys(lora_keys: Iterable[str] | None) -> tuple[str, ...] | None:
    """The keys of any iterable; ValueError for a single string and for no key at all."""
    if lora_keys is None:
        return None
    keys = () if isinstance(lora_keys, str) else tuple(lora_keys)
    if not keys:
        raise ValueError("lora_keys must be a list of one or more names, or None for all")
    return keys


def _checked_quantization(bits: int | None, group_size: int) -> tuple[int | None, int]:
    """Bits and group size; bits are None for full precision."""
    if bits is None:
        return None, group_size
    number = _whole("quantization_bits", bits, 1)
    if number in _FULL_PRECISION_BITS:
        return None, group_size
    _one_of("quantization_bits", number, (*QUANTIZATION_BITS, *_FULL_PRECISION_BITS))
    return number, _one_of("group_size", _whole("group_size", group_size, 1), _GROUP_SIZES)


def estimate_trial(
    config: LoraConfig,
    source: ModelSource,
    backend: Backend,
    device: str = "",
    inspected: InspectedShapes | None = None,
) -> MemoryEstimate:
    """Estimate a trial of `config`.

    ModelError as `estimate_training_memory`.
    """
    held = source.quantization
    quantization = (held.bits, held.group_size) if held else (None, 1)
    shapes = read_architecture_shapes(source.architecture)
    built = inspected or _described(shapes, key_names(config.lora_keys), quantization)
    if inspected is None and source.stored_bytes is not None:
        built = dataclasses.replace(built, weight_bytes=source.stored_bytes)
    step = StepMemory(shapes, built.linears, config, backend, device)
    is_paged = inspected is None and backend != "cpu"
    arrays = _OPTIMIZER_ARRAYS[config.optimizer]
    return _estimate(step, built, quantization, arrays, is_paged=is_paged)


def _described(
    shapes: Architecture, keys: tuple[str, ...] | None, quantization: tuple[int | None, int]
) -> InspectedShapes:
    """The model as config.json describes it."""
    adapted = shapes.adapted(keys)
    per_layer = sum(linear.parameters_per_rank for linear in adapted)
    layers = (per_layer,) * shapes.num_hidden_layers
    return InspectedShapes(shapes.weight_bytes(*quantization), adapted, layers)


def _estimate(
    step: StepMemory,
    built: InspectedShapes,
    quantization: tuple[int | None, int],
    optimizer_arrays: int,
    *,
    is_paged: bool,
) -> MemoryEstimate:
    """The estimate; with `is_paged` each array of weights takes whole pages, as on a GPU."""
    shapes, config = step.shapes, step.config
    parameters = config.rank * sum(built.adapter_parameters_per_rank[-step.layers :])
    moment = step.highest_moment(*quantization)
    errors = _ERROR_OF_CHECKPOINTING if config.grad_checkpoint else _RELATIVE_ERRORS
    unused_bytes = 0
    if is_paged:
        whole_pages = shapes.weight_bytes(*quantization, PAGE_BYTES)
        unused_bytes = whole_pages - shapes.weight_bytes(*quantization)
    found = MemoryEstimate(
        weights_bytes=built.weight_bytes,
        adapters_bytes=_ADAPTER_BYTES * parameters,
        gradients_bytes=round(step.gradient_bytes_per_parameter * parameters),
        optimizer_bytes=optimizer_arrays * _ADAPTER_BYTES * parameters,
        activations_bytes=round(step.kept_bytes + moment.activations_bytes),
        logits_bytes=round(moment.logits_bytes),
        overhead_bytes=round(moment.in_flight_bytes) + unused_bytes,
        margin_bytes=round(moment.margin_bytes),
        relative_error=errors[step.backend],
    )
    return found if shapes.is_exact else _of_another_architecture(found)


def _of_another_architecture(estimate: MemoryEstimate) -> MemoryEstimate:
    """`estimate` with the margin and error of a model type that was not fitted."""
    more = round(_MARGIN_OF_OTHER_ARCHITECTURES * estimate.minimum_bytes)
    return dataclasses.replace(
        estimate,
        margin_bytes=estimate.margin_bytes + more,
        relative_error=max(estimate.relative_error, _ERROR_OF_OTHER_ARCHITECTURES),
    )


def usual_backend() -> Backend:
    """The backend that people train on: Metal on a Mac, CUDA elsewhere."""
    return "metal" if sys.platform == "darwin" else "cuda"


def largest_array_bytes(config: LoraConfig, architecture: Mapping[str, Any]) -> int:
    """Larger of a step's logits and one layer's attention scores; 0 where neither is known.

    MLX's CPU backend (0.32.4) makes the scores of all heads in one array when it trains; the fused
    attention of the other backends does not.
    """
    flat = flat_config(architecture)
    tokens = config.max_seq_length - 1
    widest = max(whole(flat.get("vocab_size")), attention_heads(flat) * tokens)
    return config.batch_size * tokens * widest * element_bytes(flat)

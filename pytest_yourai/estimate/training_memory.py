"""What a LoRA training step needs, by arithmetic on the model's config.json. Bytes.

Weights, adapters and the optimizer's state are counted here; what a step computes with them, in
`step_memory`, where the empirical coefficients are. tests/performance/estimate.py prints how good
they are on models and lengths that they were not fitted to.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pytest_yourai.core.config import (
    GROUP_SIZES,
    OPTIMIZER,
    QUANTIZATION_BITS,
    USUAL_LORA_KEYS,
    LoraConfig,
    Quantization,
)
from pytest_yourai.core.device import Backend
from pytest_yourai.estimate.step_memory import StepMemory
from pytest_yourai.models.architecture import (
    PAGE_BYTES,
    InspectedShapes,
    attention_heads,
    element_bytes,
    flat_config,
    read_architecture_shapes,
    whole,
)

_ADAPTER_BYTES = 4
"""mlx-lm makes adapters in float32 (mlx_lm/tuner/lora.py)."""

_OPTIMIZER_ARRAYS = {"adam": 2, "adamw": 2, "muon": 1, "sgd": 0, "adafactor": 0}
"""Arrays of an adapter's size that each of mlx-lm's optimizers keeps, with its defaults."""

_RELATIVE_ERRORS: dict[Backend, float] = {"cuda": 0.02, "cpu": 0.03, "metal": 0.06}
"""Typical, where measured: one H200 and Linux. Metal: not measured."""

_ERROR_OF_CHECKPOINTING: dict[Backend, float] = {"cuda": 0.03, "cpu": 0.2, "metal": 0.1}

_ERROR_OF_OTHER_ARCHITECTURES = 0.10

_FULL_PRECISION_BITS = (16, 32)

_GROUP_SIZES = (16, *GROUP_SIZES)
"""Of the affine mode, and of nvfp4."""

_MARGIN_OF_OTHER_ARCHITECTURES = 0.15
"""Of the minimum, on top of the usual margin: gemma2's and phi3's steps were above that."""


@dataclass(frozen=True, slots=True)
class MemoryEstimate:
    """Bytes, at the moment of a training step at which they are most; their sum is the minimum.

    `activations_bytes` is what the backward pass needs, `logits_bytes` the scores over the
    vocabulary and their gradients, `overhead_bytes` what is in flight and what whole pages waste.
    `relative_error` is what the estimate is typically off by, on models that it was not made from.
    """

    weights_bytes: int
    adapters_bytes: int
    gradients_bytes: int
    optimizer_bytes: int
    activations_bytes: int
    logits_bytes: int
    overhead_bytes: int
    margin_bytes: int
    relative_error: float

    @property
    def minimum_bytes(self) -> int:
        """The MLX peak of a training step under the lowest memory limit."""
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
        """What no measured minimum was above."""
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
    """The minimum memory of mlx-lm LoRA training, for rows of `seq_length` tokens.

    `architecture` is a config.json mapping; `lora_keys` None means every linear layer, as in
    mlx-lm; `quantization_bits` None full precision. `backend` None means Metal on a Mac and CUDA
    elsewhere; `device` is the GPU's name. ModelError for a mapping or a key that is not valid,
    ValueError for an optimizer that mlx-lm does not have.
    """
    shapes = read_architecture_shapes(architecture)
    config = LoraConfig(batch_size, lora_rank, lora_layers, seq_length, grad_checkpoint)
    bits = _bits(quantization_bits, group_size)
    if isinstance(lora_keys, str) or (lora_keys is not None and not list(lora_keys)):
        raise ValueError("lora_keys must be a list of one or more names, or None for all")
    if optimizer not in _OPTIMIZER_ARRAYS:
        raise ValueError(
            f"optimizer must be one of {', '.join(_OPTIMIZER_ARRAYS)}, not {optimizer}"
        )
    backend = backend or usual_backend()
    adapted = inspected.linears if inspected else shapes.adapted(lora_keys)
    if inspected is not None:
        weights = paged = inspected.weight_bytes
    else:
        weights = shapes.weight_bytes(bits, group_size)
        paged = shapes.weight_bytes(bits, group_size, 1 if backend == "cpu" else PAGE_BYTES)
    layers = min(lora_layers, shapes.num_hidden_layers)
    parameters = lora_rank * (
        sum(inspected.adapter_parameters_per_rank[-layers:])
        if inspected
        else layers * sum(linear.parameters_per_rank for linear in adapted)
    )
    step = StepMemory(shapes, adapted, config, layers, backend, device)
    moment = step.highest_moment(bits, group_size)
    known = _ERROR_OF_CHECKPOINTING if grad_checkpoint else _RELATIVE_ERRORS
    found = MemoryEstimate(
        weights_bytes=weights,
        adapters_bytes=_ADAPTER_BYTES * parameters,
        gradients_bytes=round(step.gradient_bytes_per_parameter * parameters),
        optimizer_bytes=_OPTIMIZER_ARRAYS[optimizer] * _ADAPTER_BYTES * parameters,
        activations_bytes=round(step.kept_bytes + moment.activations_bytes),
        logits_bytes=round(moment.logits_bytes),
        overhead_bytes=round(moment.in_flight_bytes) + paged - weights,
        margin_bytes=round(moment.margin_bytes),
        relative_error=known[backend],
    )
    return found if shapes.is_exact else _of_another_architecture(found)


def estimate_trial(
    config: LoraConfig,
    architecture: Mapping[str, Any],
    quantization: Quantization | None,
    lora_keys: Iterable[str] | None,
    *,
    backend: Backend,
    device: str = "",
    inspected: InspectedShapes | None = None,
) -> MemoryEstimate:
    """What a trial of `config` needs; without `lora_keys` q, k, v and o get adapters."""
    return estimate_training_memory(
        architecture,
        batch_size=config.batch_size,
        lora_rank=config.rank,
        lora_layers=config.num_layers,
        seq_length=config.max_seq_length,
        quantization_bits=quantization.bits if quantization else None,
        group_size=quantization.group_size if quantization else Quantization(4).group_size,
        lora_keys=lora_keys or USUAL_LORA_KEYS,
        grad_checkpoint=config.grad_checkpoint,
        optimizer=OPTIMIZER,
        backend=backend,
        device=device,
        inspected=inspected,
    )


def _of_another_architecture(estimate: MemoryEstimate) -> MemoryEstimate:
    more = round(_MARGIN_OF_OTHER_ARCHITECTURES * estimate.minimum_bytes)
    return dataclasses.replace(
        estimate,
        margin_bytes=estimate.margin_bytes + more,
        relative_error=max(estimate.relative_error, _ERROR_OF_OTHER_ARCHITECTURES),
    )


def usual_backend() -> Backend:
    """The one that people train with here: Metal on a Mac, CUDA elsewhere."""
    return "metal" if sys.platform == "darwin" else "cuda"


def _bits(quantization_bits: int | None, group_size: int) -> int | None:
    """None for full precision, which 16 and 32 bits are too."""
    if quantization_bits is None or quantization_bits in _FULL_PRECISION_BITS:
        return None
    if quantization_bits not in QUANTIZATION_BITS or group_size not in _GROUP_SIZES:
        raise ValueError(
            f"quantization_bits must be one of {QUANTIZATION_BITS} or None, and group_size one of "
            f"{_GROUP_SIZES}, not {quantization_bits} and {group_size}"
        )
    return quantization_bits


def largest_array_bytes(config: LoraConfig, architecture: Mapping[str, Any]) -> int:
    """The larger of a step's logits and, of one layer, attention scores; 0 where neither is known.

    MLX's CPU backend (0.32.4) makes the scores of all heads in one array when it trains; the fused
    attention of the other backends does not.
    """
    flat = flat_config(architecture)
    tokens = config.max_seq_length - 1
    widest = max(whole(flat.get("vocab_size")), attention_heads(flat) * tokens)
    return config.batch_size * tokens * widest * element_bytes(flat)

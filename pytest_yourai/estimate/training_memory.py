"""Minimum memory of a training step, by arithmetic on the model's config.json. Bytes.

Weights are counted here, what is trained and its optimizer's state in `trained_arrays`;
`step_memory` adds what a step computes with them. tests/performance/estimate.py prints the errors
on models and lengths that were not fitted, recipes.py those of recipes.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable, Mapping
from typing import Any, get_args

from pytest_yourai.core.config import (
    FineTuneType,
    LoraConfig,
    Optimizer,
)
from pytest_yourai.core.device import Backend
from pytest_yourai.core.errors import ModelError
from pytest_yourai.core.recipe import MLX_LM_DEFAULTS, Recipe
from pytest_yourai.estimate.checked_arguments import (
    checked_keys,
    checked_layers,
    checked_quantization,
    mapping,
    one_of,
    real_number,
    text,
    true_or_false,
    whole_number,
)
from pytest_yourai.estimate.memory_estimate import MemoryEstimate
from pytest_yourai.estimate.named_model import architecture_of
from pytest_yourai.estimate.step_memory import StepMemory
from pytest_yourai.estimate.trained_arrays import TrainedArrays, adapter_arrays, base_arrays
from pytest_yourai.models.architecture import Architecture, InspectedShapes
from pytest_yourai.models.architecture_reader import read_architecture_shapes
from pytest_yourai.models.layer_shapes import LinearShape
from pytest_yourai.models.source import ModelSource
from pytest_yourai.models.trainable import untrainable_in_full
from pytest_yourai.models.weight_form import AFFINE, PAGE_BYTES

_RELATIVE_ERRORS: dict[Backend, float] = {"cuda": 0.02, "cpu": 0.03, "metal": 0.06}
"""One standard deviation: measured on one H200 and on Linux CPUs, assumed for Metal."""

_ERROR_OF_CHECKPOINTING: dict[Backend, float] = {"cuda": 0.03, "cpu": 0.2, "metal": 0.1}

_BACKENDS, _FINE_TUNE_TYPES, _OPTIMIZERS = get_args(Backend), (*FineTuneType,), (*Optimizer,)

_ERROR_OF_OTHER_ARCHITECTURES = 0.10

_MARGIN_OF_OTHER_ARCHITECTURES = 0.15
"""Share of the minimum added to the usual margin, which gemma2 and phi3 exceeded."""


def estimate_training_memory(
    model: Mapping[str, Any] | str | os.PathLike[str],
    *,
    batch_size: int,
    lora_rank: int,
    lora_layers: int,
    seq_length: int,
    quantization_bits: int | None,
    group_size: int = 64,
    lora_keys: Iterable[str] | None = None,
    grad_checkpoint: bool = False,
    fine_tune_type: str = "lora",
    optimizer: str = "adam",
    optimizer_config: Mapping[str, Any] | None = None,
    dropout: float = 0.0,
    grad_accumulation_steps: int = 1,
    backend: Backend | None = None,
    device: str = "",
    inspected: InspectedShapes | None = None,
) -> MemoryEstimate:
    """Estimate the memory, in bytes, of mlx-lm training on [batch_size, seq_length] tokens.

    `model` is a preset, a folder, a repository in the local cache, or a config.json mapping; its
    weights are not looked at. `lora_layers` counts trained layers from the last one; -1, and more
    than the model has, mean all. `quantization_bits` None, 16 or 32 is full precision; `group_size`
    is in weights. `lora_keys` are paths or last components of linear layers, None all
    of them, as in mlx-lm. What else a recipe has moves no memory: learning rates and schedules,
    seeds, masked prompts, an optimizer's settings other than adafactor's `beta_1`. `backend` None
    is the one that is installed, `device` the GPU's name. `inspected` shapes of the built
    model replace those of the mapping.

    TypeError for an argument of another type, ValueError for a size too small or too large, an
    empty `lora_keys`, or an unknown quantization, fine_tune_type, optimizer or backend; ModelError
    for a name without a model, for a mapping that lacks a size or has experts that are not known,
    for a key that names no linear layer, and for full fine-tuning of quantized weights.
    """
    quantization = checked_quantization(quantization_bits, group_size)
    keys = checked_keys(lora_keys)
    backend = _installed_backend() if backend is None else one_of("backend", backend, _BACKENDS)
    shapes = read_architecture_shapes(architecture_of(model))
    built = inspected or _described(shapes, shapes.adapted(keys), quantization, AFFINE)
    config = LoraConfig(
        batch_size=whole_number("batch_size", batch_size, 1),
        rank=whole_number("lora_rank", lora_rank, 1),
        num_layers=checked_layers(lora_layers, shapes.num_hidden_layers),
        max_seq_length=whole_number("seq_length", seq_length, 2),
        grad_checkpoint=true_or_false("grad_checkpoint", grad_checkpoint),
        fine_tune_type=FineTuneType(one_of("fine_tune_type", fine_tune_type, _FINE_TUNE_TYPES)),
        optimizer=Optimizer(one_of("optimizer", optimizer, _OPTIMIZERS)),
        dropout=real_number("dropout", dropout),
        grad_accumulation_steps=whole_number("grad_accumulation_steps", grad_accumulation_steps, 1),
    )
    has_moment = has_first_moment(config, mapping("optimizer_config", optimizer_config))
    gpu = text("device", device)
    step = _step(built, shapes, config, quantization, backend, gpu, has_moment)
    is_paged = inspected is None and backend != "cpu"
    return _estimate(step, built.weight_bytes, AFFINE, is_paged=is_paged)


def estimate_trial(
    config: LoraConfig,
    source: ModelSource,
    backend: Backend,
    device: str = "",
    inspected: InspectedShapes | None = None,
    recipe: Recipe = MLX_LM_DEFAULTS,
) -> MemoryEstimate:
    """Estimate a trial of `config` and `recipe`.

    ModelError as `estimate_training_memory`.
    """
    held = source.quantization
    quantization = (held.bits, held.group_size) if held else (None, 1)
    mode = held.mode if held else AFFINE
    shapes = read_architecture_shapes(source.architecture)
    built = inspected or _described(shapes, _chosen(shapes, config, source), quantization, mode)
    if inspected is None and source.stored_bytes is not None:
        built = dataclasses.replace(built, weight_bytes=source.stored_bytes)
    has_moment = has_first_moment(config, recipe.optimizer_arguments(config))
    step = _step(built, shapes, config, quantization, backend, device, has_moment)
    is_paged = inspected is None and backend != "cpu"
    return _estimate(step, built.weight_bytes, mode, is_paged=is_paged)


def trained_parameters(
    config: LoraConfig, source: ModelSource, inspected: InspectedShapes | None = None
) -> int | None:
    """The number of parameters that `config` trains; None where the model is not known so far.

    Exact where the model was `inspected`; else by config.json.
    """
    if inspected is not None and config.fine_tune_type is not FineTuneType.FULL:
        return adapter_arrays(inspected, config).parameters
    if inspected is not None and inspected.layers:
        return sum(layer.parameters for layer in inspected.layers[-config.num_layers :])
    try:
        shapes = read_architecture_shapes(source.architecture)
        built = _described(shapes, _chosen(shapes, config, source), (None, 1), AFFINE)
        return _trained(built, shapes, config, None).parameters
    except ModelError:
        return None


def gradient_bytes(config: LoraConfig, source: ModelSource) -> int:
    """Bytes of the gradients of one update; ModelError where the model cannot be estimated."""
    shapes = read_architecture_shapes(source.architecture)
    built = _described(shapes, _chosen(shapes, config, source), (None, 1), AFFINE)
    layers = min(config.num_layers, shapes.num_hidden_layers)
    clipped = dataclasses.replace(config, num_layers=layers)
    return _trained(built, shapes, clipped, None).held_bytes


def has_first_moment(config: LoraConfig, optimizer_arguments: Mapping[str, Any]) -> bool:
    """True for adafactor with `beta_1`."""
    is_adafactor = config.optimizer is Optimizer.ADAFACTOR
    return is_adafactor and optimizer_arguments.get("beta_1") is not None


def _chosen(
    shapes: Architecture, config: LoraConfig, source: ModelSource
) -> tuple[LinearShape, ...]:
    return shapes.chosen(config.lora_keys, is_required=source.requires_lora_keys)


def _installed_backend() -> Backend:
    from pytest_yourai.machine.environment import installed_backend  # noqa: PLC0415 - slow to import

    return installed_backend()


def _described(
    shapes: Architecture,
    adapted: tuple[LinearShape, ...],
    quantization: tuple[int | None, int],
    mode: str,
) -> InspectedShapes:
    """The model as config.json describes it, with adapters on some linear layers."""
    paths = {linear.key for linear in adapted}
    there = {kind: [each for each in kind.linears if each.key in paths] for kind in shapes.kinds}
    sides = {kind: sum(each.parameters_per_rank for each in found) for kind, found in there.items()}
    outputs = {kind: sum(each.outputs for each in found) for kind, found in there.items()}
    return InspectedShapes(
        shapes.weight_bytes(*quantization, mode=mode),
        adapted,
        tuple(map(sides.__getitem__, shapes.layers)),
        adapted_outputs=tuple(map(outputs.__getitem__, shapes.layers)),
    )


def _step(
    built: InspectedShapes,
    shapes: Architecture,
    config: LoraConfig,
    quantization: tuple[int | None, int],
    backend: Backend,
    device: str,
    has_moment: bool,
) -> StepMemory:
    """The step of a recipe; ModelError for full fine-tuning of quantized weights."""
    layers = min(config.num_layers, shapes.num_hidden_layers)
    if layers != config.num_layers:
        config = dataclasses.replace(config, num_layers=layers)
    trained = _trained(built, shapes, config, quantization[0])
    if not shapes.is_exact:
        shapes = shapes.with_linears(built.linears)
    keys = frozenset(linear.key for linear in built.linears)
    return StepMemory(shapes, keys, trained, config, has_moment, quantization, backend, device)


def _trained(
    built: InspectedShapes, shapes: Architecture, config: LoraConfig, bits: int | None
) -> TrainedArrays:
    if config.fine_tune_type is not FineTuneType.FULL:
        return adapter_arrays(built, config)
    if bits is None:
        return base_arrays(built, shapes, config.num_layers)
    raise ModelError(untrainable_in_full("quantized weights"))


def _estimate(step: StepMemory, weights_bytes: int, mode: str, *, is_paged: bool) -> MemoryEstimate:
    """The estimate; with `is_paged` each array of weights takes whole pages, as on a GPU."""
    shapes, config, trained = step.shapes, step.config, step.trained
    quantization = step.quantization
    moment = step.highest_moment
    errors = _ERROR_OF_CHECKPOINTING if config.grad_checkpoint else _RELATIVE_ERRORS
    ahead, ahead_margin = round(step.ahead_bytes), round(step.ahead_margin_bytes)
    unused_bytes = 0
    if is_paged:
        whole_pages = shapes.weight_bytes(*quantization, PAGE_BYTES, mode)
        unused_bytes = whole_pages - shapes.weight_bytes(*quantization, mode=mode)
    found = MemoryEstimate(
        weights_bytes=weights_bytes,
        adapters_bytes=0 if config.fine_tune_type is FineTuneType.FULL else trained.held_bytes,
        gradients_bytes=round(moment.gradients_bytes),
        optimizer_bytes=trained.state_bytes(
            config.optimizer, has_first_moment=step.has_first_moment
        ),
        activations_bytes=round(moment.activations_bytes),
        logits_bytes=round(moment.logits_bytes),
        overhead_bytes=round(moment.in_flight_bytes) + unused_bytes,
        margin_bytes=round(moment.margin_bytes),
        relative_error=errors[step.backend],
        ahead_bytes=ahead,
        ahead_margin_bytes=ahead_margin,
        unlimited_bytes=ahead + ahead_margin if step.backend == "metal" else 0,
    )
    return found if shapes.is_measured else _of_another_architecture(found)


def _of_another_architecture(estimate: MemoryEstimate) -> MemoryEstimate:
    """`estimate` with the margin and error of a model type that was not fitted."""
    more = round(_MARGIN_OF_OTHER_ARCHITECTURES * estimate.minimum_bytes)
    return dataclasses.replace(
        estimate,
        margin_bytes=estimate.margin_bytes + more,
        relative_error=max(estimate.relative_error, _ERROR_OF_OTHER_ARCHITECTURES),
    )

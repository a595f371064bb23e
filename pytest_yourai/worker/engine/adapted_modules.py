"""The modules of a model that get adapters, and the shapes that an estimate needs of them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Collection, Sequence

import mlx.core as mx
from mlx import nn
from mlx.utils import tree_flatten
from mlx_lm.models.switch_layers import QuantizedSwitchLinear, SwitchLinear

from pytest_yourai.core.config import KEY_SETS, key_names
from pytest_yourai.core.errors import ModelError
from pytest_yourai.core.module_sets import is_in_each, modules_of_set
from pytest_yourai.models.architecture import InspectedShapes, LayerArrays
from pytest_yourai.models.layer_shapes import LinearShape
from pytest_yourai.models.source import ModelSource
from pytest_yourai.models.weight_form import PAGE_BYTES, paged

ADAPTABLE = (
    nn.Linear,
    nn.QuantizedLinear,
    SwitchLinear,
    QuantizedSwitchLinear,
    nn.Embedding,
    nn.QuantizedEmbedding,
)


def shapes(model: nn.Module, keys: Collection[str]) -> InspectedShapes:
    """The shapes of a model whose modules of these paths within a layer get adapters."""
    layers = [
        [_linear(path, module) for path, module in layer.named_modules() if path in keys]
        for layer in model.layers
    ]
    page_bytes = 1 if mx.default_device() == mx.cpu else PAGE_BYTES
    arrays = [array for _, array in tree_flatten(model.parameters())]
    per_rank = (sum(linear.parameters_per_rank for linear in layer) for layer in layers)
    return InspectedShapes(
        weight_bytes=sum(paged(array.nbytes, page_bytes) for array in arrays),
        linears=tuple(layers[-1]),
        adapter_parameters_per_rank=tuple(per_rank),
        layers=tuple(map(_layer_arrays, model.layers)),
        adapted_outputs=tuple(sum(linear.outputs for linear in layer) for layer in layers),
    )


def _layer_arrays(layer: nn.Module) -> LayerArrays:
    arrays = (array for _, array in tree_flatten(layer.parameters()))
    return LayerArrays.of((array.shape, array.nbytes) for array in arrays)


def _linear(path: str, module: nn.Module) -> LinearShape:
    *copies, outputs, inputs = module.weight.shape
    if "scales" in module:
        inputs = inputs * 32 // module.bits
    return LinearShape(path, inputs, outputs, math.prod(copies))


def matching_lora_keys(model: nn.Module, source: ModelSource) -> dict[str, tuple[str, ...]]:
    """The paths within a layer that get adapters, by the choices of `source`.

    Of a named set what it means in this model; where no layer has any of it, or one lacks it that
    nobody asked for, every linear layer, which is mlx-lm's own default. ModelError if a required
    path matches nothing.
    """
    layers = [_adaptable_paths(layer) for layer in model.layers]
    return {choice: _matching(model, layers, choice, source) for choice in source.lora_keys}


def module_layers(model: nn.Module) -> dict[str, tuple[int, ...]]:
    """The numbers of the layers that have a module which can get an adapter, by its path there."""
    found: dict[str, tuple[int, ...]] = {}
    for number, layer in enumerate(model.layers):
        for path in _adaptable_paths(layer):
            found[path] = (*found.get(path, ()), number)
    return found


def _adaptable_paths(layer: nn.Module) -> list[str]:
    return [path for path, module in layer.named_modules() if _is_adaptable(module)]


def _is_adaptable(module: nn.Module) -> bool:
    return hasattr(module, "to_lora") or isinstance(module, ADAPTABLE)


def _matching(
    model: nn.Module, layers: Sequence[Sequence[str]], choice: str, source: ModelSource
) -> tuple[str, ...]:
    there = sorted(set(itertools.chain(*layers)))
    wanted = key_names(choice)
    if wanted is None:
        return tuple(there)
    is_required = source.requires_lora_keys
    if choice in KEY_SETS:
        return modules_of_set(choice, layers, is_required=is_required) or tuple(there)
    if not (is_required or is_in_each(wanted, layers)):
        return modules_of_set("qkvo", layers, is_required=False) or tuple(there)
    outside = {path for path, module in model.named_modules() if isinstance(module, ADAPTABLE)}
    for key in wanted:
        if key not in there and key not in outside:
            meant = [path for path in there if path.endswith(f".{key}")]
            hint = f"did you mean {meant[0]}?" if meant else f"use some of {', '.join(there)}"
            raise ModelError(
                f"--yourai-lora-keys: {key} matches no module of {source.name}: {hint}"
            )
    return wanted

"""Base models for the MLX engine: inspected lazily, loaded from a folder, or made up."""

from __future__ import annotations

import gc
import itertools
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import mlx.core as mx
from mlx import nn
from mlx.utils import tree_flatten
from mlx_lm.models.switch_layers import QuantizedSwitchLinear, SwitchLinear
from mlx_lm.utils import _get_classes, load_model, quantize_model

from pytest_yourai.engine.protocol import Inspection, ModelSource
from pytest_yourai.errors import ModelError

DEFAULT_LORA_KEYS = ("q_proj", "k_proj", "v_proj", "o_proj")
"""Last components of the module paths that get adapters where the user names none."""

_OWN_INITIALIZATION_SIZE = 1 << 16
"""Arrays up to this many elements keep their layer's own initialization (norms, states)."""

_MOST_CHUNK_SIZE = 1 << 22
"""Elements of a large array that are made up at once: bounds the temporary memory."""

_ADAPTABLE = (
    nn.Linear,
    nn.QuantizedLinear,
    SwitchLinear,
    QuantizedSwitchLinear,
    nn.Embedding,
    nn.QuantizedEmbedding,
)


def build_lazily(architecture: Mapping[str, Any]) -> nn.Module:
    """The model of a config.json mapping, nothing of it evaluated.

    ModelError where mlx-lm has no such architecture or the mapping lacks a value.
    """
    config = dict(architecture)
    try:
        model_class, args_class = _get_classes(config)
    except ValueError as problem:
        raise ModelError(f"config.json: model_type: mlx-lm does not know it: {problem}") from None
    try:
        return model_class(args_class.from_dict(config))
    except Exception as problem:
        raise ModelError(
            f"config.json does not describe a {config['model_type']} model as mlx-lm builds it: "
            f"{type(problem).__name__}: {problem}"
        ) from problem


def inspect(source: ModelSource) -> Inspection:
    """Depth, parameter count and matching LoRA keys, without allocation."""
    model = build_lazily(source.architecture)
    return Inspection(
        num_hidden_layers=len(model.layers),
        parameters=sum(array.size for _, array in tree_flatten(model.parameters())),
        lora_keys=matching_lora_keys(model, source.lora_keys, source.name),
    )


def matching_lora_keys(
    model: nn.Module, wanted: tuple[str, ...] | None, name: str
) -> tuple[str, ...]:
    """The paths within a layer that get adapters; ModelError where a wanted one matches nothing.

    Without `wanted`: the attention projections, and in models that name them otherwise every
    linear layer, which is mlx-lm's own default.
    """
    there = sorted(
        {
            path
            for layer in model.layers
            for path, module in layer.named_modules()
            if hasattr(module, "to_lora") or isinstance(module, _ADAPTABLE)
        }
    )
    if wanted is None:
        usual = tuple(path for path in there if path.rpartition(".")[2] in DEFAULT_LORA_KEYS)
        return usual or tuple(there)
    outside = {path for path, module in model.named_modules() if isinstance(module, _ADAPTABLE)}
    for key in wanted:
        if key not in there and key not in outside:
            meant = [path for path in there if path.endswith(f".{key}")]
            hint = f"did you mean {meant[0]}?" if meant else f"its modules are {', '.join(there)}"
            raise ModelError(f"--yourai-lora-keys: {key} matches no module of {name}: {hint}")
    return wanted


def load(source: ModelSource) -> nn.Module:
    """The model with its weights in memory, frozen.

    On the way there memory never holds more beyond the finished model than one layer's
    full-precision weights or its embedding, whichever is larger.
    """
    model = _synthetic(source) if source.synthetic else _local(source)
    model.freeze()
    gc.collect()
    mx.clear_cache()
    return model


def _local(source: ModelSource) -> nn.Module:
    if source.folder is None:
        raise ModelError(f"{source.name}: there is no folder to load weights from")
    try:
        model, config = load_model(Path(source.folder), lazy=True)
    except Exception as problem:
        raise ModelError(
            f"{source.folder} cannot be loaded as mlx-lm does: {type(problem).__name__}: {problem}"
        ) from problem
    if source.quantization is not None and "quantization" not in config:
        quantize_model(model, config, source.quantization.group_size, source.quantization.bits)
    _evaluate_by_module(model)
    return model


def _synthetic(source: ModelSource) -> nn.Module:
    mx.random.seed(0)
    model = build_lazily(source.architecture)
    model.set_dtype(_dtype(source.architecture))
    if source.quantization is not None:
        quantize_model(
            model,
            dict(source.architecture),
            source.quantization.group_size,
            source.quantization.bits,
        )
    seeds = itertools.count()
    for _, module in tree_flatten(model.leaf_modules(), is_leaf=nn.Module.is_module):
        _make_up(module, seeds)
    _evaluate_by_module(model)
    return model


def _dtype(architecture: Mapping[str, Any]) -> mx.Dtype:
    text_config = architecture.get("text_config") or {}
    name = next(
        (
            mapping[key]
            for mapping in (architecture, text_config)
            for key in ("torch_dtype", "dtype")
            if isinstance(mapping.get(key), str)
        ),
        "bfloat16",
    )
    types: dict[str, mx.Dtype] = {
        "float32": mx.float32,
        "float16": mx.float16,
        "bfloat16": mx.bfloat16,
    }
    try:
        return types[name.removeprefix("torch.")]
    except KeyError:
        raise ModelError(
            f"config.json: torch_dtype: {name} is none of {', '.join(types)}"
        ) from None


def _make_up(module: nn.Module, seeds: Iterator[int]) -> None:
    """Replace a module's large, still lazy arrays by random ones of the same shape and type.

    Quantized weights are made up packed, so that they never exist in full precision.
    """
    weight = module.get("weight")
    if weight is None or weight.size <= _OWN_INITIALIZATION_SIZE:
        return
    if "scales" in module:
        if module.mode != "affine":
            return
        inputs = weight.shape[-1] * 32 // module.bits
        bound = 1 / math.sqrt(inputs)
        module.weight = _random_bits(weight.shape, seeds)
        module.scales = mx.full(
            module.scales.shape, 2 * bound / (2**module.bits - 1), module.scales.dtype
        )
        module.biases = mx.full(module.biases.shape, -bound, module.biases.dtype)
    else:
        bound = 1 / math.sqrt(weight.shape[-1])
        module.weight = _random_uniform(weight.shape, weight.dtype, bound)


def _chunks(size: int) -> list[tuple[int, int]]:
    step = max(_OWN_INITIALIZATION_SIZE, min(_MOST_CHUNK_SIZE, size // 8))
    return [(start, min(start + step, size)) for start in range(0, size, step)]


def _random_uniform(shape: tuple[int, ...], dtype: mx.Dtype, bound: float) -> mx.array:
    flat = mx.zeros(math.prod(shape), dtype)
    mx.eval(flat)
    for start, end in _chunks(flat.size):
        flat[start:end] = mx.random.uniform(-bound, bound, (end - start,)).astype(dtype)
        mx.eval(flat)
    return flat.reshape(shape)


def _random_bits(shape: tuple[int, ...], seeds: Iterator[int]) -> mx.array:
    flat = mx.zeros(math.prod(shape), mx.uint32)
    mx.eval(flat)
    for start, end in _chunks(flat.size):
        # Splitting a key is hashing it: 2 words of 32 random bits each.
        words = mx.random.split(mx.random.key(next(seeds)), (end - start + 1) // 2).reshape(-1)
        flat[start:end] = words[: end - start]
        mx.eval(flat)
    return flat.reshape(shape)


def _evaluate_by_module(model: nn.Module) -> None:
    """Evaluate the parameters module by module: sources and temporaries of each are freed."""
    for _, module in tree_flatten(model.leaf_modules(), is_leaf=nn.Module.is_module):
        mx.eval(module.parameters())
    mx.eval(model.parameters())

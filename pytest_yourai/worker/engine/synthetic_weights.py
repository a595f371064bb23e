"""Synthetic weights: random, in place, and packed where they are quantized."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import mlx.core as mx
from mlx import nn

_OWN_INITIALIZATION_SIZE = 1 << 16
"""Arrays up to this many elements keep their layer's own initialization (norms, states)."""

_MOST_CHUNK_SIZE = 1 << 22
"""Elements of a large array that are filled at once: bounds the temporary memory."""


_SMALL = 0.1
"""Standard deviation of what replaces zeros."""

_SEEDS_OF_MODULE = 1 << 32


def fill_randomly(module: nn.Module, number: int) -> None:
    """Replace a module's large, still lazy arrays by random ones of the same shape and type.

    They depend on the module's `number` alone, so that one module can be filled without the others.
    Quantized weights are filled packed, so that they never exist in full precision.
    """
    mx.random.seed(number)
    seeds = itertools.count(number * _SEEDS_OF_MODULE)
    weight = module.get("weight")
    if weight is None:
        return
    packed = "scales" in module
    inputs = weight.shape[-1] * 32 // module.bits if packed else weight.shape[-1]
    if weight.size // weight.shape[-1] * inputs <= _OWN_INITIALIZATION_SIZE:
        return
    bound = 1 / math.sqrt(inputs)
    if not packed:
        module.weight = _filled(
            weight, lambda size: mx.random.uniform(-bound, bound, (size,)).astype(weight.dtype)
        )
    elif module.mode == "affine":
        scales, biases = module.scales, module.biases
        module.weight = _filled(weight, lambda size: _random_words(size, next(seeds)))
        module.scales = mx.full(scales.shape, 2 * bound / (2**module.bits - 1), scales.dtype)
        module.biases = mx.full(biases.shape, -bound, biases.dtype)
    else:
        _fill_by_rows(module, inputs, bound)


def leave_no_zeros(model: nn.Module) -> None:
    """Replace what modules hold beside others, and begin with zeros, by small random numbers.

    Training would divide by it (`k_k` of mlx-lm's rwkv7): real weights have none of it.
    """
    for number, (_, module) in enumerate(model.named_modules()):
        if not module.children():
            continue
        for key, array in module.items():
            if not isinstance(array, mx.array) or array.size > _OWN_INITIALIZATION_SIZE:
                continue
            if mx.issubdtype(array.dtype, mx.floating) and not mx.any(array).item():
                mx.random.seed(number)
                module[key] = _SMALL * mx.random.normal(array.shape, array.dtype)


def _fill_by_rows(module: nn.Module, inputs: int, bound: float) -> None:
    """Quantize random rows, a few at a time: for modes whose scales are not plain numbers."""
    weight, scales = module.weight, module.scales
    packed = [mx.zeros(array.shape, array.dtype).flatten(0, -2) for array in (weight, scales)]
    mx.eval(packed)
    rows = packed[0].shape[0]
    # Quantizing in these modes holds some 80 bytes for each element at once (MLX 0.32.4, CPU).
    step = max(1, _chunks(rows * inputs)[0][1] // inputs // 16)
    for start in range(0, rows, step):
        end = min(start + step, rows)
        made = mx.quantize(
            mx.random.uniform(-bound, bound, (end - start, inputs)),
            group_size=module.group_size,
            bits=module.bits,
            mode=module.mode,
        )
        for array, part in zip(packed, made, strict=True):
            array[start:end] = part
        mx.eval(packed)
    module.weight = packed[0].reshape(weight.shape)
    module.scales = packed[1].reshape(scales.shape)


def _chunks(size: int) -> list[tuple[int, int]]:
    step = max(_OWN_INITIALIZATION_SIZE, min(_MOST_CHUNK_SIZE, size // 8))
    return [(start, min(start + step, size)) for start in range(0, size, step)]


def _filled(like: mx.array, make: Callable[[int], mx.array]) -> mx.array:
    """An array of the shape and type of `like`, filled with what `make` returns for a size."""
    flat = mx.zeros(like.size, like.dtype)
    mx.eval(flat)
    for start, end in _chunks(flat.size):
        flat[start:end] = make(end - start)
        mx.eval(flat)
    return flat.reshape(like.shape)


def _random_words(size: int, seed: int) -> mx.array:
    # Splitting a key is hashing it: 2 words of 32 random bits each.
    return mx.random.split(mx.random.key(seed), (size + 1) // 2).reshape(-1)[:size]

"""Synthetic weights: random, in place, and packed where they are quantized."""

from __future__ import annotations

import math
from collections.abc import Iterator

import mlx.core as mx
from mlx import nn

_OWN_INITIALIZATION_SIZE = 1 << 16
"""Arrays up to this many elements keep their layer's own initialization (norms, states)."""

_MOST_CHUNK_SIZE = 1 << 22
"""Elements of a large array that are filled at once: bounds the temporary memory."""


def fill_randomly(module: nn.Module, seeds: Iterator[int]) -> None:
    """Replace a module's large, still lazy arrays by random ones of the same shape and type.

    Quantized weights are filled packed, so that they never exist in full precision.
    """
    weight = module.get("weight")
    if weight is None:
        return
    packed = "scales" in module
    elements = weight.size * 32 // module.bits if packed else weight.size
    if elements <= _OWN_INITIALIZATION_SIZE:
        return
    if packed:
        if module.mode != "affine":
            _fill_by_rows(module)
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


def _fill_by_rows(module: nn.Module) -> None:
    """Quantize random rows, a few at a time: for modes whose scales are not plain numbers."""
    weight, scales = module.weight, module.scales
    inputs = weight.shape[-1] * 32 // module.bits
    bound = 1 / math.sqrt(inputs)
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

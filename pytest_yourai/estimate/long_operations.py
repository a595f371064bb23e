"""How long the longest single operation of a training step takes on a Mac's GPU, by arithmetic.

macOS ends work of a GPU that keeps its display waiting, whatever memory is left. An operation is
the least that can be ended: MLX commits large ones to the GPU one by one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pytest_yourai.core.config import LoraConfig
from pytest_yourai.models.config_keys import HIDDEN_KEYS, attention_heads, first_whole, whole
from pytest_yourai.models.known_config import known_config

_TERAFLOPS = {
    "M1": 2.6,
    "M1 Pro": 5.2,
    "M1 Max": 10.4,
    "M1 Ultra": 20.8,
    "M2": 3.6,
    "M2 Pro": 6.8,
    "M2 Max": 13.6,
    "M2 Ultra": 27.2,
    "M3": 3.5,
    "M3 Pro": 6.4,
    "M3 Max": 14.2,
    "M3 Ultra": 28.4,
    "M4": 4.3,
    "M4 Pro": 9.2,
    "M4 Max": 18.4,
}
"""Of the GPU with all its cores, float32, which is also what bfloat16 gets there."""

_LATEST = "M4"
"""Later chips are taken for its kind."""

_REACHED = 0.6
"""Share of these that a matrix product reaches: an assumption."""


@dataclass(frozen=True, slots=True)
class LongOperation:
    """An operation, as people call it, and about how long it takes."""

    name: str
    seconds: float


def longest_operation(
    config: LoraConfig, architecture: Mapping[str, Any], device: str
) -> LongOperation | None:
    """The longest of a step on the GPU of that name; None where either is not known."""
    speed = _flops(device)
    operations = list(_operations(config, architecture))
    if speed is None or not operations:
        return None
    name, count = max(operations, key=lambda each: each[1])
    return LongOperation(name, count / (speed * _REACHED))


def _operations(config: LoraConfig, architecture: Mapping[str, Any]) -> Iterator[tuple[str, int]]:
    """Matrix products of a forward pass, each with its floating-point operations."""
    keys = known_config(architecture).keys
    hidden, heads = first_whole(keys, *HIDDEN_KEYS), attention_heads(keys)
    length = config.max_seq_length - 1
    tokens = config.batch_size * length
    if not hidden:
        return
    yield "the product with the vocabulary", 2 * tokens * hidden * whole(keys.get("vocab_size"))
    yield "a layer's MLP", 2 * tokens * hidden * whole(keys.get("intermediate_size"))
    if heads:
        head_dim = whole(keys.get("head_dim")) or hidden // heads
        yield "a layer's attention", 2 * tokens * length * heads * head_dim


def _flops(device: str) -> float | None:
    match = re.search(r"\bM(\d+)(?: (Pro|Max|Ultra))?\b", device)
    if match is None:
        return None
    kind = f" {match[2]}" if match[2] else ""
    names = (f"M{match[1]}{kind}", f"{_LATEST}{kind}", f"{_LATEST} Max")
    return next(_TERAFLOPS[name] for name in names if name in _TERAFLOPS) * 1e12

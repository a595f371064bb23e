"""The largest single arrays of a model and its training step, by config.json. Bytes.

Metal has a limit for one array, which no memory limit moves: it is reached long before the memory
is used up. Only arrays that are surely made are counted, so that nothing that would run is refused.
Where each is made: logits by the head, scores by attention that is not fused (which MLX's Metal and
CPU backends do not do in training), experts as one array of all of them (mlx-lm's SwitchLinear).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pytest_yourai.core.config import LoraConfig, Quantization
from pytest_yourai.core.device import DeviceInfo
from pytest_yourai.core.units import gigabytes
from pytest_yourai.models.config_keys import (
    EXPERTS_KEYS,
    HIDDEN_KEYS,
    attention_heads,
    element_bytes,
    first_whole,
    whole,
)
from pytest_yourai.models.known_config import known_config

_BITS_PER_BYTE = 8


@dataclass(frozen=True, slots=True)
class LargeArray:
    """An array, as people call it, and the fields of a configuration that make it smaller."""

    name: str
    held_bytes: int
    remedy: str


def largest_array_bytes(config: LoraConfig, architecture: Mapping[str, Any]) -> int:
    """The largest array of a training step; 0 where nothing is known.

    MLX's CPU backend (0.32.4) makes the scores of all heads in one array when it trains.
    """
    return max((each.held_bytes for each in _step_arrays(config, architecture)), default=0)


def largest_array(
    config: LoraConfig, architecture: Mapping[str, Any], quantization: Quantization | None
) -> LargeArray | None:
    """The largest array of all, of weights or of a step on Metal; None where nothing is known."""
    found = [*_step_arrays(config, architecture), *_weight_arrays(architecture, quantization)]
    return max(found, key=lambda each: each.held_bytes, default=None)


def over_the_buffer_limit(
    config: LoraConfig,
    architecture: Mapping[str, Any],
    quantization: Quantization | None,
    device: DeviceInfo,
) -> tuple[str, str] | None:
    """Why a trial cannot run on `device` for one array, and the remedy; None where it can."""
    most = device.max_buffer_bytes
    largest = largest_array(config, architecture, quantization)
    if most is None or largest is None or largest.held_bytes <= most:
        return None
    reason = (
        f"{largest.name} are one array of {gigabytes(largest.held_bytes)}, and Metal allows "
        f"{gigabytes(most)} for one on this machine"
    )
    return reason, largest.remedy


def _step_arrays(config: LoraConfig, architecture: Mapping[str, Any]) -> Iterator[LargeArray]:
    keys = known_config(architecture).keys
    tokens = config.max_seq_length - 1
    row = config.batch_size * tokens * element_bytes(keys)
    smaller = "use a smaller batch_size, or a shorter max_seq_length"
    if words := whole(keys.get("vocab_size")):
        yield LargeArray("its logits", row * words, smaller)
    if heads := attention_heads(keys):
        shorter = "use a shorter max_seq_length, or a smaller batch_size"
        yield LargeArray("its attention scores", row * heads * tokens, shorter)


def _weight_arrays(
    architecture: Mapping[str, Any], quantization: Quantization | None
) -> Iterator[LargeArray]:
    keys = known_config(architecture).keys
    hidden = first_whole(keys, *HIDDEN_KEYS)
    bits = quantization.bits if quantization else _BITS_PER_BYTE * element_bytes(keys)
    fewer = "quantize it to fewer bits (--yourai-quantize), or use a smaller model"

    def array(name: str, *sizes: int) -> LargeArray:
        return LargeArray(name, math.prod(sizes) * bits // _BITS_PER_BYTE, fewer)

    yield array("its embeddings", whole(keys.get("vocab_size")), hidden)
    inner = first_whole(keys, "moe_intermediate_size", "intermediate_size")
    if (experts := first_whole(keys, *EXPERTS_KEYS)) > 1:
        yield array("the weights of its experts", experts, hidden, inner)

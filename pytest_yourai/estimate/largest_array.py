"""The largest single array of a training step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pytest_yourai.core.config import LoraConfig
from pytest_yourai.models.config_keys import attention_heads, element_bytes, flat_config, whole


def largest_array_bytes(config: LoraConfig, architecture: Mapping[str, Any]) -> int:
    """Larger of a step's logits and one layer's attention scores; 0 where neither is known.

    MLX's CPU backend (0.32.4) makes the scores of all heads in one array when it trains; the fused
    attention of the other backends does not.
    """
    flat = flat_config(architecture)
    tokens = config.max_seq_length - 1
    widest = max(whole(flat.get("vocab_size")), attention_heads(flat) * tokens)
    return config.batch_size * tokens * widest * element_bytes(flat)

"""What a training step needs, by arithmetic on the model's config.json. Bytes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pytest_yourai.config import LoraConfig

_HEADS_KEYS = ("num_attention_heads", "n_heads", "n_head", "num_heads")


def largest_array_bytes(config: LoraConfig, architecture: Mapping[str, Any]) -> int:
    """The larger of a step's logits and, of one layer, attention scores; 0 where neither is known.

    MLX's CPU backend (0.32.4) makes the scores of all heads in one array when it trains; the fused
    attention of the other backends does not.
    """
    text = architecture.get("text_config")
    flat = {**architecture, **(text if isinstance(text, Mapping) else {})}
    element_bytes = 4 if str(flat.get("torch_dtype", "")).endswith("float32") else 2
    tokens = config.max_seq_length - 1
    words = _whole(flat.get("vocab_size"))
    heads = next((number for key in _HEADS_KEYS if (number := _whole(flat.get(key)))), 0)
    return config.batch_size * tokens * max(words, heads * tokens) * element_bytes


def _whole(value: Any) -> int:
    return value if isinstance(value, int) and value > 0 else 0

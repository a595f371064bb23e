"""Keys of a config.json, under the names that model types give them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pytest_yourai.core.config import Quantization
from pytest_yourai.core.errors import ModelError

HEADS_KEYS = ("num_attention_heads", "n_heads", "n_head", "num_heads")

DEPTH_KEYS = ("num_hidden_layers", "n_layers", "n_layer", "num_layers")

HIDDEN_KEYS = ("hidden_size", "n_embd", "dim", "d_model")

EXPERTS_KEYS = ("num_local_experts", "num_experts", "n_routed_experts", "moe_num_experts")


def flat_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """A config.json mapping with the keys of its text part on top."""
    text = config.get("text_config")
    return {**config, **(text if isinstance(text, Mapping) else {})}


def element_bytes(flat: Mapping[str, Any]) -> int:
    """Bytes of an unquantized weight, and of an activation; bfloat16 unless the config differs."""
    dtype = flat.get("torch_dtype") or flat.get("dtype")
    return 4 if str(dtype).endswith("float32") else 2


def whole(value: Any) -> int:
    """`value` where it is a positive whole number, else 0."""
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0


def first_whole(flat: Mapping[str, Any], *names: str) -> int:
    """The first of the keys `names` that holds a positive whole number, else 0."""
    return next((number for name in names if (number := whole(flat.get(name)))), 0)


def attention_heads(flat: Mapping[str, Any]) -> int:
    """Their number, under whichever key, or 0."""
    return first_whole(flat, *HEADS_KEYS)


def needed(flat: Mapping[str, Any], *names: str) -> int:
    """The first of the keys `names` that holds one; ModelError without any."""
    number = first_whole(flat, *names)
    if not number:
        raise ModelError(
            f"config.json: {names[0]}: it is missing or no whole number above 0, and no estimate "
            "can do without: add it"
        )
    return number


def stored_quantization(architecture: Mapping[str, Any]) -> Quantization | None:
    """The quantization of the weights, from mlx-lm's key in config.json; None if there is none."""
    raw = architecture.get("quantization")
    if not isinstance(raw, Mapping):
        return None
    try:
        return Quantization(int(raw["bits"]), int(raw["group_size"]), raw.get("mode", "affine"))
    except (KeyError, TypeError, ValueError, OverflowError) as problem:
        raise ModelError(
            f"config.json: quantization: mlx-lm has no such quantization: {problem}; name another "
            "model, or convert it with mlx_lm.convert"
        ) from None

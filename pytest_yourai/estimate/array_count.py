"""How many arrays training holds at once, at least: Metal has a limit for their number.

Counted are weights, what is trained, what a recurrent layer keeps of each token, and what MLX keeps
of each compiled shape. Measured on the CPU with MLX 0.32.4: a shape more kept 18 constants with 4
trained arrays, 75 with 112; the loop of the gated delta rule kept 2 states a token.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pytest_yourai.core.config import LoraConfig
from pytest_yourai.models.config_keys import DEPTH_KEYS, first_whole
from pytest_yourai.models.known_config import known_config

_WEIGHTS_OF_A_LAYER = 9

_COPIES_OF_WHAT_IS_TRAINED = 4
"""The parameter, its gradient, and Adam's two moments."""

_CONSTANTS_OF_A_SHAPE = 16

_CONSTANTS_OF_A_TRAINED_ARRAY = 0.5

_STATES_OF_A_TOKEN = 2

_LOOPING_TYPES = ("mamba", "jamba", "bailing_moe_linear")
"""Their layers loop over the tokens of a row in Python, but for those with full attention."""

_INTERVAL_KEYS = ("full_attention_interval", "attn_layer_period", "layer_group_size")
"""Of layers: one in so many has full attention."""

_LINEAR_ATTENTION = "linear_attention"
"""Of `layer_types`: the gated delta rule, which mlx-lm computes by a loop in training."""


def arrays_held(
    config: LoraConfig, architecture: Mapping[str, Any], linears: int, shapes: int
) -> int:
    """At least so many, with adapters on `linears` modules of each layer, and compiled `shapes`."""
    keys = known_config(architecture).keys
    depth = first_whole(keys, *DEPTH_KEYS)
    trained = 2 * linears * min(config.num_layers, depth)
    weights = _WEIGHTS_OF_A_LAYER * depth
    constants = _CONSTANTS_OF_A_SHAPE + _CONSTANTS_OF_A_TRAINED_ARRAY * trained
    kept_layers = _looping_layers(keys, config.num_layers)
    if config.grad_checkpoint:
        kept_layers = min(1, kept_layers)
    states = _STATES_OF_A_TOKEN * (config.max_seq_length - 1) * kept_layers
    return round(weights + _COPIES_OF_WHAT_IS_TRAINED * trained + shapes * constants + states)


def loops_over_tokens(architecture: Mapping[str, Any]) -> bool:
    """True if training computes some layer of the model token by token."""
    keys = known_config(architecture).keys
    return _looping_layers(keys, first_whole(keys, *DEPTH_KEYS)) > 0


def _looping_layers(keys: Mapping[str, Any], trained_layers: int) -> int:
    """The layers among the last `trained_layers` that loop over the tokens of a row."""
    depth = first_whole(keys, *DEPTH_KEYS)
    last = min(trained_layers, depth)
    kinds = keys.get("layer_types")
    if isinstance(kinds, list):
        return sum(kind == _LINEAR_ATTENTION for kind in kinds[-last:]) if last else 0
    is_looping = keys.get("model_type") in _LOOPING_TYPES or "full_attention_interval" in keys
    if not is_looping:
        return 0
    every = first_whole(keys, *_INTERVAL_KEYS) or depth + 1
    return sum((number + 1) % every != 0 for number in range(depth - last, depth))

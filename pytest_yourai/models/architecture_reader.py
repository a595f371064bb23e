"""Reads the shapes that a config.json describes."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from typing import Any

from pytest_yourai.core.errors import ModelError
from pytest_yourai.models.architecture import Architecture
from pytest_yourai.models.config_keys import (
    EXPERTS_KEYS,
    HEADS_KEYS,
    HIDDEN_KEYS,
    element_bytes,
    flat_config,
)
from pytest_yourai.models.dense_layers import same
from pytest_yourai.models.families import FAMILIES, Family
from pytest_yourai.models.known_config import KnownConfig, known_config
from pytest_yourai.models.layer_blocks import attention, layer, mlp, norm
from pytest_yourai.models.layer_shapes import Layers


def read_architecture_shapes(config: Mapping[str, Any]) -> Architecture:
    """The shapes in a config.json mapping; of a model with several parts, those of its text part.

    Keys that are missing have mlx-lm's defaults. ModelError, naming the key, where one that is
    needed has none, and for a mapping that mlx-lm could not build a model from.
    """
    try:
        text = json.dumps(config, default=str)
    except (TypeError, ValueError, RecursionError) as problem:
        raise ModelError(
            f"model: JSON cannot hold it ({problem}): give what a config.json has"
        ) from None
    return _read(text)


@functools.lru_cache(maxsize=64)
def _read(text: str) -> Architecture:
    config = json.loads(text)
    known = known_config(config)
    family = FAMILIES.get(known.model_type)
    if family is None:
        return _like_llama(known)
    hidden = known.needed(*family.hidden_keys)
    flag = known.keys.get(family.tied_key, True)
    packed = config.get("quantization_config")
    return Architecture(
        model_type=known.model_type,
        hidden_size=hidden,
        vocab_size=known.needed("vocab_size"),
        element_bytes=element_bytes(flat_config(config)),
        has_own_head={"own": True, "tied": False}.get(family.head, not flag),
        layers=_layers(family, known),
        family=family,
        outside=family.outside(known),
        outside_vectors=family.last_norms * hidden,
        has_packed_experts=known.model_type == "gpt_oss"
        and isinstance(packed, Mapping)
        and packed.get("quant_method") == "mxfp4",
    )


def _layers(family: Family, known: KnownConfig) -> Layers:
    """The layers of a known type; ModelError where the keys do not describe any."""
    try:
        layers = family.layers(known)
    except (TypeError, ValueError, ArithmeticError) as problem:
        raise ModelError(
            f"config.json: no {known.model_type} can be built from its keys: {problem}; correct it"
        ) from None
    linears = [linear for kind in set(layers) for linear in kind.linears]
    empty = next((each for each in linears if min(each.inputs, each.outputs) < 1), None)
    if empty is not None or not layers:
        what = f"{empty.key} has no size" if empty else "there is no layer"
        raise ModelError(
            f"config.json: no {known.model_type} can be built from its keys: {what}; correct it"
        )
    return layers


def _like_llama(known: KnownConfig) -> Architecture:
    """Another model type, as if its layers were llama's."""
    if (experts := known.size(*EXPERTS_KEYS)) > 1:
        raise ModelError(
            f"config.json: {experts} experts: this mixture of experts cannot be estimated, it must "
            "be measured"
        )
    hidden = known.needed(*HIDDEN_KEYS)
    heads = known.needed(*HEADS_KEYS)
    inner = known.needed("intermediate_size", "n_inner", "ffn_dim", "hidden_dim")
    sizes = {"hidden_size": hidden, "num_attention_heads": heads}
    as_llama = KnownConfig({**known.keys, **sizes}, known.model_type)
    own = attention(as_llama, head_dim=known.size("head_dim"))
    one = layer(norm(hidden), own, norm(hidden), mlp(hidden, inner))
    layers = _layers(Family(lambda config: same(config, one)), known)
    return Architecture(
        model_type=known.model_type,
        hidden_size=hidden,
        vocab_size=known.needed("vocab_size"),
        element_bytes=element_bytes(known.keys),
        has_own_head=not known.keys.get("tie_word_embeddings", True),
        layers=layers,
        outside_vectors=hidden,
    )

"""The modules that a named set of LoRA keys means, whatever a model calls them."""

from __future__ import annotations

from collections.abc import Collection, Iterable

_PROJECTIONS = {
    "q_proj": "q",
    "q_a_proj": "q",
    "q_b_proj": "q",
    "c_q": "q",
    "attn_query": "q",
    "r_proj": "q",
    "k_proj": "k",
    "c_k": "k",
    "attn_key": "k",
    "v_proj": "v",
    "c_v": "v",
    "attn_value": "v",
    "kv_proj": "kv",
    "kv_a_proj": "kv",
    "kv_a_proj_with_mqa": "kv",
    "kv_b_proj": "kv",
    "qkv_proj": "qkv",
    "q_k_v_proj": "qkv",
    "qkvg_proj": "qkv",
    "query_key_value": "qkv",
    "Wqkv": "qkv",
    "wqkv": "qkv",
    "W_pack": "qkv",
    "c_attn": "qkv",
    "att_proj": "qkv",
    "in_proj_qkv": "qkv",
    "in_proj_qkvz": "qkv",
}
"""What an attention module computes with its children: queries, keys and values.

A child that computes several of them belongs to each set that has one.
"""

_OUTPUTS = (
    "o_proj",
    "o_a_proj",
    "o_b_proj",
    "out_proj",
    "dense",
    "wo",
    "c_proj",
    "attn_out",
    "attn_resid",
)
"""Names that only in an attention module, beside some of the others, are its output's."""


def members(key_set: str, paths: Collection[str]) -> tuple[str, ...]:
    """The `paths` within one layer that `key_set` means, of letters out of q, k, v and o."""
    attention = {_parent(path) for path in paths if _name(path) in _PROJECTIONS}
    return tuple(path for path in paths if _is_member(path, key_set, attention))


def modules_of_set(
    key_set: str, layers: Iterable[Collection[str]], *, is_required: bool
) -> tuple[str, ...] | None:
    """What a named set means in a model with these paths in its layers.

    None where that leaves layers without any, and another choice is to be made: it is not required.
    """
    layers = tuple(layers)
    found = {path for layer in layers for path in members(key_set, layer)}
    return tuple(sorted(found)) if is_required or is_in_each(found, layers) else None


def is_in_each(paths: Collection[str], layers: Iterable[Collection[str]]) -> bool:
    """True if each of the layers that have modules has one of `paths`."""
    return all(any(path in paths for path in layer) for layer in layers if layer)


def _is_member(path: str, letters: str, attention: Collection[str]) -> bool:
    name = _name(path)
    if name in _OUTPUTS:
        return "o" in letters and _parent(path) in attention
    return any(letter in letters for letter in _PROJECTIONS.get(name, ""))


def _name(path: str) -> str:
    return path.rpartition(".")[2]


def _parent(path: str) -> str:
    return path.rpartition(".")[0]

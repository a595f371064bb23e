"""The weights of a folder as their files have them: types and quantization, from headers alone.

A config.json keeps what a model once was: `mlx_lm.convert --dtype` leaves its `torch_dtype`, and
mlx-lm quantizes the modules whose scales are in the files, in the bits that these were packed with.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from pytest_yourai.core.config import GROUP_SIZES, QUANTIZATION_BITS
from pytest_yourai.models.config_keys import flat_config, whole
from pytest_yourai.models.folder import WEIGHTS

_UNIFORM_TYPES = ("llama", "mistral", "qwen2")
"""Model types that keep no single tensors in another type."""

_TYPES = {"F32": "float32", "F16": "float16", "BF16": "bfloat16"}
"""The types that mlx-lm computes in, as safetensors names them."""

_BYTES = {"F32": 4, "F16": 2, "BF16": 2, "U32": 4, "U8": 1}
"""Bytes of an element of each type that mlx-lm holds weights in."""

_OTHER_MODES = {(4, 16): "nvfp4", (4, 32): "mxfp4", (8, 32): "mxfp8"}
"""Bits and group size of the modes whose scales are bytes (mlx_lm.utils.infer_quant_config)."""

_WORD_BITS = 32
"""Packed weights are in words of so many."""


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """A tensor in a file; `dtype` is spelled as safetensors does."""

    dtype: str
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """Number of its elements."""
        return math.prod(self.shape)


def read_tensors(folder: Path) -> dict[str, StoredTensor]:
    """The tensors in the files that mlx-lm loads; empty where one of them cannot be read.

    The library bounds the headers. What is wrong with a file, mlx-lm says when it loads it.
    """
    found = {}
    try:
        for path in sorted(each for each in folder.glob(WEIGHTS) if each.is_file()):
            with safe_open(path, framework="numpy") as file:
                for name in file.keys():  # noqa: SIM118 - it is no mapping
                    tensor = file.get_slice(name)
                    shape = tuple(int(size) for size in tensor.get_shape())
                    found[name] = StoredTensor(str(tensor.get_dtype()), shape)
    except (OSError, SafetensorError):
        return {}
    return found


def as_stored(
    architecture: Mapping[str, Any], tensors: Mapping[str, StoredTensor]
) -> dict[str, Any]:
    """A config.json mapping with the type and quantization that these weights have.

    Without tensors, and for weights whose type mlx-lm has no name for, it is as it was.
    """
    found = dict(architecture)
    dtype = _computed_in(tensors, is_uniform=found.get("model_type") in _UNIFORM_TYPES)
    if dtype is not None:
        text = found.get("text_config")
        if isinstance(text, Mapping):
            found["text_config"] = {key: text[key] for key in text.keys() - {"torch_dtype"}}
            found["text_config"].pop("dtype", None)
        found.pop("dtype", None)
        found["torch_dtype"] = dtype
    stored = found.get("quantization")
    if tensors and isinstance(stored, Mapping):
        if not any(name.endswith(".scales") for name in tensors):
            # mlx-lm leaves modules without scales as they are.
            del found["quantization"]
            found.pop("quantization_config", None)
        elif (kind := _usual_kind(tensors, stored, _sizes(found))) is not None:
            named = zip(("bits", "group_size", "mode"), kind, strict=True)
            found["quantization"] = {**stored, **dict(named)}
    return found


def _sizes(architecture: Mapping[str, Any]) -> set[int]:
    """Numbers of inputs that a module may have."""
    return {whole(value) for value in flat_config(architecture).values()} - {0}


def stored_bytes(
    architecture: Mapping[str, Any], tensors: Mapping[str, StoredTensor]
) -> int | None:
    """Bytes that MLX holds once these tensors are loaded; None where their types are not known.

    Without the head where it is tied, and of a model with several parts the language model alone.
    """
    is_tied = flat_config(architecture).get("tie_word_embeddings", True)
    held = {name: each for name, each in tensors.items() if not (is_tied and "lm_head." in name)}
    if "text_config" in architecture:
        held = {name: each for name, each in held.items() if "language_model." in name}
    if not held or any(each.dtype not in _BYTES for each in held.values()):
        return None
    return sum(each.size * _BYTES[each.dtype] for each in held.values())


def _computed_in(tensors: Mapping[str, StoredTensor], *, is_uniform: bool) -> str | None:
    """The type of activations: MLX promotes where the tensors that a step reads have several.

    Of models that keep single tensors in another type, and cast them, it is that of most elements.
    """
    elements: Counter[str] = Counter()
    for tensor in tensors.values():
        if tensor.dtype in _TYPES:
            elements[_TYPES[tensor.dtype]] += tensor.size
    if not elements:
        return None
    if is_uniform and len(elements) > 1:
        return "float32"
    return elements.most_common(1)[0][0]


_Kind = tuple[int, int, str]
"""Bits, group size and mode."""


def _usual_kind(
    tensors: Mapping[str, StoredTensor], stored: Mapping[str, Any], sizes: set[int]
) -> _Kind | None:
    """The kind of most modules without an entry of their own; None where it is the one stored.

    Packed weights of 4 bits in groups of 64 have the shapes of 8 bits in groups of 32 and half as
    many inputs: the kind counts that gives most modules a number of inputs out of `sizes`.
    """
    own = _kind_of(stored)
    found: Counter[_Kind] = Counter()
    for name, scales in tensors.items():
        module = name.removesuffix(".scales")
        weight = tensors.get(f"{module}.weight")
        if module == name or module in stored or weight is None:
            continue
        possible = _possible_kinds(weight, scales)
        likely = [kind for kind in possible if scales.shape[-1] * kind[1] in sizes]
        found.update(likely or possible)
    most = max(found.values(), default=0)
    return None if found[own] == most else found.most_common(1)[0][0]


def _possible_kinds(weight: StoredTensor, scales: StoredTensor) -> list[_Kind]:
    if not scales.shape or not weight.shape:
        return []
    groups, words = scales.shape[-1], weight.shape[-1]
    return [
        kind
        for kind in _all_kinds(is_affine=scales.dtype in _TYPES)
        if words * _WORD_BITS == groups * kind[1] * kind[0]
    ]


def _all_kinds(*, is_affine: bool) -> list[_Kind]:
    if not is_affine:
        return [(*numbers, mode) for numbers, mode in _OTHER_MODES.items()]
    usual = sorted(GROUP_SIZES, key=lambda size: size != 64)  # noqa: PLR2004 - mlx-lm's default
    return [(bits, group_size, "affine") for group_size in usual for bits in QUANTIZATION_BITS]


def _kind_of(stored: Mapping[str, Any]) -> _Kind:
    """The kind that an entry of config.json names."""
    bits, group_size = whole(stored.get("bits")), whole(stored.get("group_size"))
    return bits, group_size, str(stored.get("mode", "affine"))

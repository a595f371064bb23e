"""The shapes that a config.json describes: linear layers, parameters, bytes of weights."""

from __future__ import annotations

import collections
import dataclasses
import functools
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pytest_yourai.core.config import KEY_SETS, key_names
from pytest_yourai.core.errors import ModelError
from pytest_yourai.core.figures import Bytes, Count
from pytest_yourai.core.module_sets import is_in_each, modules_of_set
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
from pytest_yourai.models.layer_shapes import Layers, LayerShapes, LinearShape, Stage
from pytest_yourai.models.weight_form import AFFINE, WeightForm

_MATRIX = 2
"""Dimensions of the arrays that count as matrices."""

_WIDE_BYTES = 4

_PACKED = (4, 32)
"""Bits and group size of OpenAI's mxfp4, in which the experts of gpt-oss come."""


@dataclass(frozen=True, slots=True)
class LayerArrays:
    """The arrays of one transformer layer that full fine-tuning trains, in elements and bytes.

    `factors` counts the rows and columns of each matrix and the elements of each vector.
    """

    matrices: Count
    parameters: Count
    factors: Count
    held_bytes: Bytes

    @classmethod
    def of(cls, arrays: Iterable[tuple[Sequence[int], int]]) -> LayerArrays:
        """Those of `arrays`, each a shape and its bytes."""
        matrices = parameters = factors = held_bytes = 0
        for shape, size in arrays:
            parameters += math.prod(shape)
            held_bytes += size
            if len(shape) < _MATRIX:
                factors += math.prod(shape)
            else:
                matrices += 1
                factors += math.prod(shape[:-2]) * sum(shape[-2:])
        return cls(matrices, parameters, factors, held_bytes)


@dataclass(frozen=True, slots=True)
class InspectedShapes:
    """Exact shapes of the built model. Bytes.

    `weight_bytes` is what MLX holds once it is loaded; `linears` get adapters in its last layer;
    `adapter_parameters_per_rank` and `layers` are of each transformer layer, the first one first,
    `layers` empty where it is not known.
    """

    weight_bytes: Bytes
    linears: tuple[LinearShape, ...]
    adapter_parameters_per_rank: tuple[Count, ...]
    layers: tuple[LayerArrays, ...] = ()


@dataclass(frozen=True)
class Architecture:
    """The parts of a config.json that decide about memory. Sizes in elements."""

    model_type: str
    hidden_size: int
    vocab_size: int
    element_bytes: int
    has_own_head: bool
    layers: tuple[LayerShapes, ...]
    """The transformer layers, the first one first; those that are alike are one object."""
    family: Family | None = None
    """How mlx-lm builds this type; None where it is taken for a llama."""
    outside: tuple[LinearShape, ...] = ()
    """Embeddings beside that of words."""
    outside_vectors: int = 0
    """Parameters outside the layers that are never quantized: the last norm."""
    has_packed_experts: bool = False
    """True for gpt-oss as OpenAI stores it: experts in mxfp4, all else in full precision."""

    @property
    def is_exact(self) -> bool:
        """True where weights are counted to the byte; else the lazily built model is inspected."""
        return self.family is not None

    @property
    def is_measured(self) -> bool:
        """True where estimates of its type were compared with what a GPU needs."""
        return self.family is not None and self.family.is_measured

    @property
    def num_hidden_layers(self) -> int:
        return len(self.layers)

    @functools.cached_property
    def linears(self) -> tuple[LinearShape, ...]:
        """Linear layers that any of the transformer layers has, each path once."""
        found = {each.key: each for kind in self.kinds for each in kind.linears}
        return tuple(found.values())

    @functools.cached_property
    def kinds(self) -> dict[LayerShapes, int]:
        """The different transformer layers, and how many there are of each."""
        return dict(collections.Counter(self.layers))

    @property
    def parameters(self) -> int:
        """Number of parameters of the whole model, before it is quantized."""
        layers = sum(kind.parameters * count for kind, count in self.kinds.items())
        words = (1 + self.has_own_head) * self.vocab_size * self.hidden_size
        others = sum(each.parameters for each in self.outside) + self.outside_vectors
        return layers + words + others

    def weight_bytes(
        self, bits: int | None, group_size: int, page_bytes: int = 1, mode: str = AFFINE
    ) -> int:
        """Bytes that MLX holds once the model is loaded, in `bits`, or in full precision (None).

        With `page_bytes` each array takes whole pages, as it does from GPU allocators.
        """
        form = WeightForm(bits, group_size, mode, self.element_bytes, page_bytes)
        if form not in self._known_bytes:
            self._known_bytes[form] = self._counted_bytes(form)
        return self._known_bytes[form]

    @functools.cached_property
    def _known_bytes(self) -> dict[WeightForm, int]:
        """What was counted so far."""
        return {}

    def _counted_bytes(self, form: WeightForm) -> int:
        words = LinearShape("words", self.hidden_size, self.vocab_size)
        total = self.outside_vectors * self.element_bytes
        total += sum(map(form.held, (words, *self.outside)))
        if self.has_own_head:
            own_bits = self.family.head_bits if self.family else 0
            total += form.held(dataclasses.replace(words, own_bits=own_bits))
        packed = dataclasses.replace(form, bits=_PACKED[0], group_size=_PACKED[1], mode="mxfp4")
        for kind, count in self.kinds.items():
            layer_bytes = kind.vectors * self.element_bytes + kind.wide_vectors * _WIDE_BYTES
            for linear in kind.quantizable:
                is_packed = self.has_packed_experts and linear.copies > 1
                layer_bytes += (packed if is_packed else form).held(linear)
            layer_bytes += sum(map(form.whole, kind.unquantized))
            total += count * layer_bytes
        return total

    def adapted(self, keys: Iterable[str] | None) -> tuple[LinearShape, ...]:
        """The linear layers that `keys` name, by path or by last component; None names all.

        ModelError for a key that is none of them.
        """
        if keys is None:
            return self.linears
        chosen = []
        for key in keys:
            meant = [each for each in self.linears if key in (each.key, each.name)]
            if not meant:
                there = ", ".join(each.key for each in self.linears)
                raise ModelError(
                    f"LoRA key {key} names no linear layer of the model: {there}; use some of them"
                )
            chosen += meant
        return tuple(dict.fromkeys(chosen))

    def chosen(self, lora_keys: str, *, is_required: bool = True) -> tuple[LinearShape, ...]:
        """The linear layers that get adapters under a choice of LoRA keys, as a sweep takes it.

        Of a named set those that it means in this model, or all if there are none, or if some
        layers have none and the choice is not required. ModelError for a key that names none.
        """
        layers = [[each.key for each in kind.linears] for kind in self.kinds]
        names = key_names(lora_keys)
        if lora_keys in KEY_SETS:
            names = modules_of_set(lora_keys, layers, is_required=is_required) or None
        elif names and not is_required and not is_in_each(names, layers):
            names = modules_of_set("qkvo", layers, is_required=False) or None
        return self.adapted(names)

    def with_linears(self, linears: Iterable[LinearShape]) -> Architecture:
        """The same with these linear layers in each layer, as the built model has them."""
        (one,) = self.kinds
        found = tuple(linears)
        stages = [
            dataclasses.replace(
                stage,
                linears=tuple(each for each in found if _reads(each, stage)),
            )
            for stage in one.stages
        ]
        placed = {each for stage in stages for each in stage.linears}
        others = [Stage((each,)) for each in found if each not in placed]
        replaced = dataclasses.replace(one, stages=(*others, *stages))
        return dataclasses.replace(self, layers=(replaced,) * len(self.layers))


_READERS = (
    ("q_proj", "k_proj", "v_proj", "qkv_proj"),
    ("o_proj", "out_proj", "dense"),
    ("gate_proj", "up_proj", "gate_up_proj", "fc1"),
    ("down_proj", "fc2"),
)
"""Names of linear layers that read the same input."""


def _reads(linear: LinearShape, stage: Stage) -> bool:
    """True if the linear layer of a built model reads what those of llama's stage do."""
    names = {each.name for each in stage.linears}
    return any(linear.name in group and names & set(group) for group in _READERS)


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

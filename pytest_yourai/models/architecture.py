"""The shapes that a config.json describes: linear layers, parameters, bytes of weights."""

from __future__ import annotations

import collections
import dataclasses
import functools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pytest_yourai.core.config import KEY_SETS, key_names
from pytest_yourai.core.errors import ModelError
from pytest_yourai.core.figures import Bytes, Count
from pytest_yourai.core.module_sets import is_in_each, modules_of_set
from pytest_yourai.models.families import Family
from pytest_yourai.models.layer_shapes import LayerShapes, LinearShape, Stage
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
    adapted_outputs: tuple[Count, ...] = ()
    """Outputs of the adapted linear layers of each layer; empty where all are as the last one."""


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
        form = (bits, group_size, mode, self.element_bytes, page_bytes)
        if form not in self._known_bytes:
            self._known_bytes[form] = self._counted_bytes(WeightForm(*form))
        return self._known_bytes[form]

    @functools.cached_property
    def _known_bytes(self) -> dict[tuple[int | None, int, str, int, int], int]:
        """What was counted so far, by the fields of `WeightForm`."""
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
        chosen: list[LinearShape] = []
        for key in keys:
            if (meant := self._by_key.get(key)) is None:
                there = ", ".join(each.key for each in self.linears)
                raise ModelError(
                    f"LoRA key {key} names no linear layer of the model: {there}; use some of them"
                )
            chosen += meant
        return tuple(dict.fromkeys(chosen))

    @functools.cached_property
    def _by_key(self) -> dict[str, tuple[LinearShape, ...]]:
        """Linear layers by their paths and by the last components of these."""
        keys = {key for each in self.linears for key in (each.key, each.name)}
        return {
            key: tuple(each for each in self.linears if key in (each.key, each.name))
            for key in keys
        }

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

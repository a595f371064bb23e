"""The graph of a step, as MLX's exporter lists it to a callback."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import mlx.core as mx

from pytest_yourai.estimate.step_graph import Array, Operation, StepGraph
from pytest_yourai.models.step_profile import Holding


def read_graph(
    listed: Iterable[Mapping[str, Any]],
    holdings: Sequence[Holding],
    vocabulary: int | None,
    batch_prime: int,
) -> StepGraph:
    """The graph that was `listed`; `holdings` are those of its inputs.

    What the step makes is sorted by shape: scores over the `vocabulary`, other arrays of the batch,
    and the rest, which are gradients.
    """
    arrays: dict[str, Array] = {}

    def array(name: str, shape: Sequence[int], dtype: mx.Dtype) -> Array:
        if name not in arrays:
            arrays[name] = Array(tuple(shape), dtype.size)
        return arrays[name]

    parts = defaultdict(list)
    for part in listed:
        parts[part["type"]].append(part)
    inputs = [array(*each) for each in parts["inputs"][0]["inputs"]]
    for given, holding in zip(inputs, holdings, strict=True):
        given.holding = holding
    for name, constant in parts["constants"][0]["constants"]:
        array(name, constant.shape, constant.dtype).value = _value(constant)
    operations = []
    for each in parts["primitive"]:
        operation = Operation(each["name"], [array(*one) for one in each["inputs"]])
        operation.outputs = [array(*one) for one in each["outputs"]]
        operation.arguments = each["arguments"]
        for made in operation.outputs:
            made.maker, made.holding = operation, _holding(made, vocabulary, batch_prime)
        operations.append(operation)
    outputs = [array(*each) for each in parts["outputs"][0]["outputs"]]
    return StepGraph(inputs, outputs, operations)


def _value(constant: mx.array) -> float | None:
    """That of a scalar of real numbers."""
    if constant.size != 1 or constant.dtype == mx.complex64:
        return None
    return float(constant.item())  # type: ignore[arg-type]  # not complex


def _holding(array: Array, vocabulary: int | None, batch_prime: int) -> Holding:
    """That of an array that the step makes."""
    if all(size % batch_prime for size in array.shape):
        return Holding.GRADIENTS
    return Holding.LOGITS if vocabulary in array.shape else Holding.ACTIVATIONS

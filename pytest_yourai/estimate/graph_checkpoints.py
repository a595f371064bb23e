"""Gradient checkpointing in a graph that was traced without it.

MLX's exporter knows no checkpoints, so a layer is traced as it is, between two seams: something is
added to what it reads, and what it gives is multiplied, by numbers that nothing else uses. Both are
taken out again here, and what the backward pass needs of the layer is computed anew, from the
layer's input, once its output is there: `mx.checkpoint` waits for no gradient (mlx/transforms.cpp).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from pytest_yourai.estimate.step_graph import Array, Operation, StepGraph

_NUMBERS = 100

_PASSED_ON = frozenset({"Broadcast", "AsType", "Reshape"})
"""Operations through which a seam's number reaches the array."""


@dataclass(slots=True)
class Seams:
    """Numbers that mark the checkpointed layers, exact in every floating type."""

    entries: list[float] = field(default_factory=list)
    exits: list[float] = field(default_factory=list)

    def next(self) -> tuple[float, float]:
        """What to add to the input of the next layer, and what to multiply its output by."""
        for numbers in (self.entries, self.exits):
            place = len(self.entries) + len(self.exits)
            power, step = divmod(place, _NUMBERS)
            numbers.append(-(2.0 ** (3 + power)) * (1 + (step + 1) / 128))
        return self.entries[-1], self.exits[-1]


@dataclass(slots=True)
class _Layer:
    """A checkpointed layer: its input and output, and where the gradient of that is made."""

    source: Array | None = None
    result: Array | None = None
    gradient: Array | None = None
    position: int = 0


def with_checkpoints(graph: StepGraph, seams: Seams) -> StepGraph:
    """`graph` with the layers between `seams` checkpointed; changes the one that is given."""
    if not seams.entries:
        return graph
    layers, operations = _unseamed(graph, seams)
    inner = [_inside(layer) for layer in layers]
    shared = {each for one in inner for each in one if sum(each in other for other in inner) > 1}
    again: dict[int, list[Operation]] = {}
    for layer, arrays in zip(layers, inner, strict=True):
        own = {each: None for each in arrays if each not in shared}
        again[layer.position] = _computed_again(layer, own, operations)
    ordered = []
    for position, operation in enumerate(operations):
        ordered += again.get(position, [])
        ordered.append(operation)
    return StepGraph(graph.inputs, graph.outputs, ordered)


def _unseamed(graph: StepGraph, seams: Seams) -> tuple[list[_Layer], list[Operation]]:
    """The layers, and the operations without seams."""
    layers = [_Layer() for _ in seams.entries]
    entries = dict(zip(seams.entries, layers, strict=True))
    exits = dict(zip(seams.exits, layers, strict=True))
    instead: dict[Array, Array] = {}
    operations: list[Operation] = []
    for operation in graph.operations:
        operation.inputs = [instead.get(each, each) for each in operation.inputs]
        other, number = _marked(operation)
        if operation.name == "Add" and number in entries:
            entries[number].source = other
        elif operation.name == "Multiply" and number in exits:
            layer = exits[number]
            if layer.result is None:
                layer.result = other
            else:
                layer.gradient, layer.position = other, len(operations)
        else:
            operations.append(operation)
            continue
        instead[operation.outputs[0]] = other
    graph.outputs = [instead.get(each, each) for each in graph.outputs]
    return [each for each in layers if each.gradient is not None], operations


def _marked(operation: Operation) -> tuple[Array, float | None]:
    """The other input of an operation that has a number among its inputs, and that number."""
    if len(operation.inputs) == 2:  # noqa: PLR2004 - of a binary operation
        for array, other in (operation.inputs, reversed(operation.inputs)):
            if (number := _number(other)) is not None:
                return array, number
    return operation.outputs[0], None


def _number(array: Array) -> float | None:
    while array.maker is not None and array.maker.name in _PASSED_ON:
        array = array.maker.inputs[0]
    return array.value if array.maker is None else None


def _inside(layer: _Layer) -> dict[Array, None]:
    """What is computed between the layer's input and its output, each after what it needs."""
    assert layer.result is not None  # noqa: S101 - a layer with a gradient has one
    found: dict[Array, None] = {}
    seen = {layer.source}
    stack: list[tuple[Operation, Iterator[Array]]] = []

    def enter(array: Array) -> None:
        if array not in seen and array.maker is not None:
            seen.update(array.maker.outputs)
            stack.append((array.maker, iter(array.maker.inputs)))

    enter(layer.result)
    while stack:
        operation, inputs = stack[-1]
        if (array := next(inputs, None)) is not None:
            enter(array)
            continue
        stack.pop()
        found.update(dict.fromkeys(operation.outputs))
    return found


def _computed_again(
    layer: _Layer, own: dict[Array, None], operations: list[Operation]
) -> list[Operation]:
    """The operations that compute anew what the backward pass needs, which then uses that."""
    assert layer.source is not None and layer.result is not None  # noqa: S101, PT018
    late = Array(layer.source.shape, layer.source.item_bytes, holding=layer.source.holding)
    late.maker = Operation("Depends", [layer.source, layer.result], [late])
    users = [
        operation
        for operation in operations[layer.position :]
        if any(each in own and each is not layer.result for each in operation.inputs)
    ]
    needed = {each for operation in users for each in operation.inputs if each in own}
    for array in reversed(own):
        if array in needed and array.maker is not None:
            needed.update(each for each in array.maker.inputs if each in own)
    copies = {layer.source: late}
    makers = dict.fromkeys(array.maker for array in own if array in needed)
    made = [late.maker, *(_copy(maker, copies) for maker in makers if maker is not None)]
    for operation in users:
        operation.inputs = [copies[each] if each in own else each for each in operation.inputs]
    return made


def _copy(operation: Operation, copies: dict[Array, Array]) -> Operation:
    """The operation again, on copies of its inputs, where there are some."""
    inputs = [copies.get(each, each) for each in operation.inputs]
    again = Operation(operation.name, inputs, [], operation.arguments)
    for each in operation.outputs:
        copies[each] = Array(each.shape, each.item_bytes, again, holding=each.holding)
        again.outputs.append(copies[each])
    return again

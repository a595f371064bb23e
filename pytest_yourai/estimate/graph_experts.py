"""Gradients of a mixture's experts in a graph that was traced as if tokens were not sorted.

For tokens that are sorted by expert MLX multiplies in segments, which its exporter does not know.
For others it makes a product for each token, and adds these up. Where that is found, the one
product takes its place, as in `gather_mm_grad` and `GatherMM::vjp` of MLX 0.32
(mlx/primitives.cpp).
"""

from __future__ import annotations

from pytest_yourai.estimate.step_graph import Array, Operation, StepGraph

SEGMENTED = "SegmentedMM"

_PRODUCTS = frozenset({"GatherMM", "GatherQMM"})

_VIEWS = frozenset({"ExpandDims", "Reshape", "Flatten", "Unflatten", "Squeeze"})


def with_sorted_experts(graph: StepGraph) -> StepGraph:
    """`graph` as it is for tokens that are sorted by expert; changes the one that is given."""
    operations = []
    for operation in graph.operations:
        product = _summed(operation)
        if product is None:
            operations.append(operation)
        elif product.outputs[0].elements == operation.outputs[0].elements:
            operations.append(_view(product.outputs[0], operation.outputs[0]))
        else:
            factors = [*product.inputs[:2], operation.inputs[1]]
            segmented = Operation(SEGMENTED, factors, operation.outputs)
            operation.outputs[0].maker = segmented
            operations.append(segmented)
    return needed_alone(StepGraph(graph.inputs, graph.outputs, operations))


def needed_alone(graph: StepGraph) -> StepGraph:
    """`graph` without operations whose results nothing needs."""
    needed: set[Array] = set(graph.outputs)
    kept = []
    for operation in reversed(graph.operations):
        if needed.isdisjoint(operation.outputs):
            continue
        needed.update(operation.inputs)
        kept.append(operation)
    return StepGraph(graph.inputs, graph.outputs, kept[::-1])


def _summed(operation: Operation) -> Operation | None:
    """The product whose results are added up by index here; None where they are others."""
    if operation.name != "Scatter":
        return None
    makers = (_source(array).maker for array in operation.inputs[1:])
    return next((each for each in makers if each and each.name in _PRODUCTS), None)


def _source(array: Array) -> Array:
    while array.maker is not None and array.maker.name in _VIEWS:
        array = array.maker.inputs[0]
    return array


def _view(array: Array, other: Array) -> Operation:
    """An operation that makes `other` a view of `array`."""
    other.maker = Operation("Reshape", [array], [other])
    return other.maker

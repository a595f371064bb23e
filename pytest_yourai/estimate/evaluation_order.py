"""The order in which MLX evaluates a graph, which decides what lives at the same time.

Follows `eval_impl` of MLX 0.32 (mlx/transforms.cpp): breadth first from the results up to a width,
then depth first.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from pytest_yourai.estimate.step_graph import Array, Operation

_MOST_WIDE = 20
"""MLX_BFS_MAX_WIDTH's default."""


def evaluation_order(results: Iterable[Array]) -> list[Operation]:
    """The operations that `results` need, in the order of their evaluation."""
    last = Operation("Synchronizer", list(results))
    degrees = _degrees(last)
    tape, position = [last], 0
    waiting: list[tuple[Operation, int]] = []
    while degrees and (position < len(tape) or waiting):
        if position < len(tape):
            operation, first = tape[position], 0
            position += 1
        else:
            operation, first = waiting.pop()
        for number in range(first, len(operation.inputs)):
            array = operation.inputs[number]
            if array.maker is None:
                continue
            if len(tape) - position >= _MOST_WIDE:
                waiting.append((operation, number))
                break
            for sibling in array.maker.outputs:
                degrees[sibling] -= 1
            if degrees[array]:
                continue
            for sibling in array.maker.outputs:
                del degrees[sibling]
            tape.append(array.maker)
    return tape[:0:-1]


def _degrees(last: Operation) -> Counter[Array]:
    """How often each array is used; siblings count together."""
    degrees: Counter[Array] = Counter()
    stack = [(last, iter(last.inputs))]
    while stack:
        array = next(stack[-1][1], None)
        if array is None:
            stack.pop()
        elif array.maker is not None:
            if array not in degrees:
                stack.append((array.maker, iter(array.maker.inputs)))
            for sibling in array.maker.outputs:
                degrees[sibling] += 1
    return degrees

"""Small computation graphs for tests, put together by hand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pytest_yourai.estimate.step_graph import Array, Operation, StepGraph


class GraphMaker:
    """Collects operations in the order in which they are made."""

    def __init__(self) -> None:
        self.inputs: list[Array] = []
        self.operations: list[Operation] = []

    def given(self, *shape: int) -> Array:
        array = Array(shape, 4)
        self.inputs.append(array)
        return array

    def made(
        self, name: str, inputs: Sequence[Array], *shape: int, arguments: Sequence[Any] = ()
    ) -> Array:
        return self.several(name, inputs, shape, arguments=arguments)[0]

    def several(
        self,
        name: str,
        inputs: Sequence[Array],
        *shapes: tuple[int, ...],
        arguments: Sequence[Any] = (),
    ) -> list[Array]:
        operation = Operation(name, list(inputs), [], arguments)
        operation.outputs = [Array(shape, 4, operation) for shape in shapes]
        self.operations.append(operation)
        return operation.outputs

    def graph(self, *outputs: Array) -> StepGraph:
        return StepGraph(self.inputs, list(outputs), self.operations)


def number(value: float) -> Array:
    """A scalar constant of the program."""
    return Array((), 4, value=value)

"""Fusion of elementwise operations, as `mx.compile` does it: fused ones keep nothing in between.

Follows `compile_fuse` of MLX 0.32 (mlx/compile.cpp), whose limits and order decide which arrays
exist.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from pytest_yourai.estimate.step_graph import Array, Operation, StepGraph

FUSED = "Compiled"

BROADCAST = "Broadcast"

# fmt: off
ELEMENTWISE = frozenset({
    "Abs", "ArcCos", "ArcCosh", "ArcSin", "ArcSinh", "ArcTan", "ArcTanh",
    "AsType", "Ceil", "Cos", "Conjugate", "Cosh", "Remainder", "Erf",
    "ErfInv", "Exp", "Floor", "Log", "Log2", "Log10", "Log1p",
    "LogicalNot", "Negative", "Round", "Sigmoid", "Sign", "Sin", "Sinh",
    "Square", "Sqrt", "Rsqrt", "Tan", "Tanh", "Expm1", "Real",
    "Imag", "BitwiseInvert", "Add", "Divide", "Equal", "NaNEqual", "Greater",
    "GreaterEqual", "Less", "LessEqual", "LogicalAnd", "LogicalOr", "LogAddExp", "Maximum",
    "Minimum", "Multiply", "NotEqual", "Power", "Subtract", "BitwiseBinary", "ArcTan2",
    "Select",
})
# fmt: on

_FUSABLE = ELEMENTWISE | {BROADCAST}

_MOST_DEEP = 11

_MOST_INPUTS = 24


def fuse(graph: StepGraph) -> StepGraph:
    """`graph` with its fusable sections as single operations; changes the one that is given."""
    return _Fusion(graph).run()


class _Fusion:
    def __init__(self, graph: StepGraph) -> None:
        self._graph = graph
        self._users: defaultdict[Array, list[Array]] = defaultdict(list)
        for operation in graph.operations:
            for array in operation.inputs:
                self._users[array].extend(operation.outputs)
        self._results = set(graph.outputs)

    def run(self) -> StepGraph:
        kept: list[Operation] = []
        fused_already: set[Array] = set()
        for operation in reversed(self._graph.operations):
            last = operation.outputs[0]
            if last in fused_already:
                continue
            section = _Section(self._users, self._results, last)
            if operation.name in ELEMENTWISE:
                section.collect()
            if len(section.members) <= 1:
                kept.append(operation)
                continue
            inner = section.in_order()
            fused_already.update(inner[:-1])
            kept.append(self._replace(section, inner))
        kept.reverse()
        return StepGraph(self._graph.inputs, self._graph.outputs, kept)

    def _replace(self, section: _Section, inner: list[Array]) -> Operation:
        outputs = [array for array in inner[:-1] if array in self._results] + inner[-1:]
        fused = Operation(FUSED, section.inputs, outputs)
        for array in inner[:-1]:
            if array not in self._results:
                self._users.pop(array, None)
        for array in outputs:
            array.maker = fused
        for array in section.inputs:
            users = [each for each in self._users[array] if each not in section.members]
            self._users[array] = users + outputs
        return fused


class _Section:
    """What can be fused with the operation that makes `last`."""

    def __init__(
        self, users: defaultdict[Array, list[Array]], results: set[Array], last: Array
    ) -> None:
        self._users, self._results, self._last = users, results, last
        self.members: dict[Array, None] = {}
        self.inputs: list[Array] = []
        self._outside: set[Array] = set()

    def collect(self) -> None:
        self._collect(self._last, 0)

    def _collect(self, array: Array, depth: int) -> None:
        if array in self.members:
            return
        if depth >= _MOST_DEEP or not self._is_fusable(array):
            self._outside.add(array)
            return
        if depth and not all(user in self.members for user in self._users[array]):
            assert array.maker is not None  # noqa: S101 - fusable, so made here
            if array.maker.name == BROADCAST and len(self._outside) < _MOST_INPUTS:
                self._collect(self._copy_of(array, array.maker), depth)
            else:
                self._outside.add(array)
            return
        if array in self._results:
            self._outside.add(array)
        else:
            self._outside.discard(array)
        if len(self._outside) >= _MOST_INPUTS:
            return
        self.members[array] = None
        for source in _sources(array):
            self._collect(source, depth + 1)

    def _is_fusable(self, array: Array) -> bool:
        if array.maker is None or array.maker.name not in _FUSABLE:
            return False
        return array not in self._results or array.shape == self._last.shape

    def _copy_of(self, array: Array, maker: Operation) -> Array:
        """A copy of a broadcast for the section alone, so that it can be fused."""
        copy = Array(array.shape, array.item_bytes, holding=array.holding)
        copy.maker = Operation(maker.name, [*maker.inputs], [copy], maker.arguments)
        others = []
        for user in self._users[array]:
            if user not in self.members:
                others.append(user)
                continue
            assert user.maker is not None  # noqa: S101 - a member
            user.maker.inputs = [copy if each is array else each for each in user.maker.inputs]
            self._users[copy].append(user)
        self._users[array] = others
        for source in copy.maker.inputs:
            self._users[source].append(copy)
        return copy

    def in_order(self) -> list[Array]:
        """The members, each after what it needs; finds the section's inputs."""
        ordered: dict[Array, None] = {}
        outside: dict[Array, None] = {}

        def visit(array: Array) -> None:
            if array not in self.members:
                outside[array] = None
            elif array not in ordered:
                for source in _sources(array):
                    visit(source)
                ordered[array] = None

        visit(self._last)
        self.inputs = [*outside]
        return [*ordered]


def _sources(array: Array) -> Iterable[Array]:
    return [] if array.maker is None else list(array.maker.inputs)

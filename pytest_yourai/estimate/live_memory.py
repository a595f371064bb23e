"""What lives at each moment of a step that MLX evaluates one operation after another. Bytes.

That is how it evaluates under the lowest memory limit: an operation allocates what it makes, or
takes over the memory of an input that nothing else needs, and then frees what nobody needs any
more. Views share the memory of their source. What each primitive does is read from MLX 0.32's CPU
and Metal backends (mlx/backend).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pytest_yourai.estimate.array_layout import (
    Strides,
    broadcast_strides,
    dense_strides,
    is_dense,
    is_matrix,
    reshaped_strides,
)
from pytest_yourai.estimate.device_lag import DeviceLag
from pytest_yourai.estimate.graph_fusion import BROADCAST, ELEMENTWISE, FUSED
from pytest_yourai.estimate.step_graph import Array, Operation

_RESHAPING = frozenset({"Squeeze", "ExpandDims", "Reshape", "Flatten", "Unflatten"})

_PASSING = frozenset({"StopGradient", "Copy", "Split", "Depends"})

_TAKING_OVER = ELEMENTWISE | {FUSED, "Softmax", "Sort", "Scan", "RMSNorm", "LayerNorm", "RoPE"}
"""They write their result over an input of the same size that nothing else needs."""

_UPDATING = frozenset({"SliceUpdate", "DynamicSliceUpdate", "Scatter", "ScatterAxis"})
"""They change their first input, or a copy of it where it is needed later."""

_FILLING_FIRST = frozenset({"AddMM", "Pad"})
"""They copy what they add to, or pad with, into their result before the rest."""

_PRODUCTS = frozenset({"Matmul", "AddMM", "BlockMaskedMM", "GatherMM"})
"""They copy factors that are neither a matrix nor its transpose in memory."""

_DENSE_ONLY = frozenset(
    {"QuantizedMatmul", "GatherQMM", "Softmax", "RMSNorm", "LayerNorm", "Convolution"}
)
"""They copy inputs whose rows do not follow each other."""


@dataclass(eq=False, slots=True)
class _Buffer:
    """The memory of an array and its views, held until that dispatch of its last reader has run."""

    array: Array
    views: int = 1
    held_until: int = 0


@dataclass(frozen=True, slots=True)
class Change:
    """Arrays whose memory an operation takes, what it needs meanwhile alone, and what it frees.

    `dispatches` is how often MLX's CPU backend submits work for it: the last one frees.
    """

    taken: Sequence[Array]
    meanwhile: Sequence[Array]
    freed: Sequence[Array]
    dispatches: int


class LiveMemory:
    """Follows the memory of `operations`, of a step that begins with `held`, and keeps `results`.

    Of `held` those among the results stay; the others are state that the step replaces. What an
    operation reads is not free before its last dispatch has run, which `lag` tells.
    """

    def __init__(
        self,
        held: Sequence[Array],
        results: Sequence[Array],
        operations: Sequence[Operation],
        lag: DeviceLag,
    ) -> None:
        self._operations = operations
        self._lag = lag
        self._dispatches = 0
        self._uses = Counter(array for each in operations for array in each.inputs)
        self._kept = set(results)
        self._buffers: dict[Array, _Buffer] = {}
        self._strides: dict[Array, Strides] = {}
        for array in held:
            self._allocate(array)

    def changes(self) -> Iterator[Change]:
        """What each operation changes, in turn."""
        for operation in self._operations:
            is_view = self._makes_views(operation)
            taken = [] if is_view else self._make(operation)
            meanwhile = self._copied(operation)
            own = 0 if is_view else _dispatches(operation, bool(taken))
            dispatches = own + len(meanwhile) + 1
            self._dispatches += dispatches
            if not is_view:
                self._hold_inputs(operation)
            yield Change(taken, meanwhile, self._release(operation), dispatches)

    def _make(self, operation: Operation) -> list[Array]:
        if operation.name in _TAKING_OVER:
            return self._make_over_inputs(operation)
        if operation.name in _UPDATING and self._can_take_over(operation.inputs[0]):
            self._share(operation.outputs[0], operation.inputs[0])
            return []
        for array in operation.outputs:
            self._allocate(array)
        return operation.outputs

    def _make_over_inputs(self, operation: Operation) -> list[Array]:
        # Each of several outputs refers to the inputs, which MLX then takes for needed.
        is_alone = len(operation.outputs) == 1
        free = [array for array in operation.inputs if is_alone and self._can_take_over(array)]
        taken = []
        for array in operation.outputs:
            over = next((each for each in free if _is_alike(each, array)), None)
            if over is not None:
                free.remove(over)
                self._share(array, over)
                continue
            self._allocate(array)
            taken.append(array)
            like = next((each for each in operation.inputs if each.shape == array.shape), None)
            if like in self._strides and 0 not in self._strides[like]:
                self._strides[array] = self._strides[like]
        return taken

    def _makes_views(self, operation: Operation) -> bool:
        if not operation.inputs:
            return False
        source, array = operation.inputs[0], operation.outputs[0]
        own = self._strides.setdefault(source, dense_strides(source.shape))
        strides: Strides | None = None
        if operation.name == "Transpose":
            strides = tuple(own[axis] for axis in operation.arguments[0])
        elif operation.name in _RESHAPING:
            strides = reshaped_strides(source.shape, own, array.shape)
        elif operation.name == BROADCAST:
            strides = broadcast_strides(source.shape, own, array.shape)
        elif operation.name == "Slice":
            steps = operation.arguments[2]
            strides = tuple(stride * step for stride, step in zip(own, steps, strict=True))
        elif operation.name in _PASSING:
            for number, each in enumerate(operation.outputs):
                self._share(each, operation.inputs[number * (operation.name == "Depends")])
            return True
        if strides is None:
            return False
        self._share(array, source)
        self._strides[array] = strides
        return True

    def _copied(self, operation: Operation) -> list[Array]:
        if operation.name in _PRODUCTS:
            factors = operation.inputs[:2]
            return [each for each in factors if not is_matrix(each.shape, self._layout(each))]
        if operation.name in _DENSE_ONLY:
            return [each for each in operation.inputs if not self._is_dense(each)]
        return []

    def _hold_inputs(self, operation: Operation) -> None:
        """MLX keeps what it read until the last of its dispatches has run."""
        own = {id(self._buffers.get(array)) for array in operation.outputs}
        for array in operation.inputs:
            buffer = self._buffers.get(array)
            if buffer is not None and id(buffer) not in own:
                buffer.held_until = self._dispatches

    def _release(self, operation: Operation) -> list[Array]:
        freed = []
        for array in operation.inputs:
            self._uses[array] -= 1
            if not self._uses[array]:
                freed += self._drop(array)
        for array in operation.outputs:
            if not self._uses[array]:
                freed += self._drop(array)
        return freed

    def _drop(self, array: Array) -> list[Array]:
        """The array whose memory is free without `array`, none or one."""
        if array in self._kept or array not in self._buffers:
            return []
        buffer = self._buffers.pop(array)
        buffer.views -= 1
        return [] if buffer.views else [buffer.array]

    def _allocate(self, array: Array) -> None:
        self._buffers[array] = _Buffer(array)
        self._strides[array] = dense_strides(array.shape)

    def _share(self, array: Array, source: Array) -> None:
        self._strides[array] = self._layout(source)
        if source in self._buffers:
            self._buffers[array] = self._buffers[source]
            self._buffers[array].views += 1

    def _can_take_over(self, array: Array) -> bool:
        buffer = self._buffers.get(array)
        if buffer is None or buffer.views > 1 or array in self._kept:
            return False
        if buffer.held_until > self._lag.ended(self._dispatches):
            return False
        is_whole = buffer.array.elements == array.elements
        return is_whole and self._uses[array] == 1

    def _layout(self, array: Array) -> Strides:
        return self._strides.setdefault(array, dense_strides(array.shape))

    def _is_dense(self, array: Array) -> bool:
        return is_dense(array.shape, self._layout(array))


def _dispatches(operation: Operation, is_copied: bool) -> int:
    """Those of an operation that computes; `is_copied` where an updated array is a copy first."""
    if operation.name == "Concatenate":
        return len(operation.inputs)
    if operation.name in _UPDATING:
        return 1 + is_copied
    return 1 + (operation.name in _FILLING_FIRST)


def _is_alike(array: Array, other: Array) -> bool:
    return array.elements == other.elements and array.item_bytes == other.item_bytes

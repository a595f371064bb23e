"""The group of ranks that this process belongs to, as MLX and mlx-lm see it."""

from __future__ import annotations

import statistics
import struct
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import mlx.core as mx
from mlx.nn.utils import average_gradients
from mlx.utils import tree_map

from pytest_yourai.core.errors import WorkerError
from pytest_yourai.core.hosts import DistributedBackend
from pytest_yourai.worker.joining import AllSum, Joined, JoinRequest

_TIMED_SUMS = 3

_JACCL_RING = DistributedBackend.JACCL_RING


def join(request: JoinRequest) -> Joined:
    """Join the group that `mlx.launch` started this process for, and time its sum.

    Waits for the others for as long as MLX does, which is for ever. WorkerError where MLX finds no
    group, as with a backend that it was built without.
    """
    # mlx.launch has two names for JACCL's backend, which says by a variable how it talks.
    name = "jaccl" if request.backend is _JACCL_RING else request.backend or "any"
    group = mx.distributed.init(strict=True, backend=str(name))
    if group.size() < 2:  # noqa: PLR2004 - one rank is no group
        raise WorkerError(
            f"MLX joined no group by {name}: it found none of the variables of mlx.launch"
        )
    _let_sums_choose_their_stream()
    elements = max(1, request.all_sum_bytes // 4)
    return Joined(group.rank(), group.size(), time_all_sum(mx.zeros(elements)))


def is_one_of_several() -> bool:
    """True if the group of this process has other ranks; joins none that was not joined."""
    return mx.distributed.is_available() and world_size() > 1


def world_size() -> int:
    """The number of ranks; 1 for a process that is alone."""
    return int(mx.distributed.init().size())


def rank() -> int:
    """The rank of this process; 0 for one that is alone."""
    return int(mx.distributed.init().rank())


def from_all(*values: float) -> list[tuple[float, ...]]:
    """For each of `values` those of all ranks, exactly, in the order of ranks.

    All must call it at once, with as many. It is one sum, of 1 to 8 ms on a busy machine.
    """
    size, own = world_size(), rank()
    if size == 1:
        return [(value,) for value in values]
    # As integers: MLX's sums of doubles are of single precision, and a step time decides for all.
    bits = [struct.unpack("<q", struct.pack("<d", value))[0] for value in values]
    slots = [each if place == own else 0 for each in bits for place in range(size)]
    gathered: Any = mx.distributed.all_sum(mx.array(slots, dtype=mx.int64)).tolist()
    found = [struct.unpack("<d", struct.pack("<q", each))[0] for each in gathered]
    return [tuple(found[start : start + size]) for start in range(0, len(found), size)]


def chosen_by_any(chosen: Sequence[bool]) -> list[bool]:
    """For each place, whether any rank has chosen it. All must call it at once."""
    if world_size() == 1 or not chosen:
        return list(chosen)
    votes = mx.array([int(each) for each in chosen], dtype=mx.int32)
    counts: Any = mx.distributed.all_sum(votes).tolist()
    return [count > 0 for count in counts]


def divisible(rows: int) -> int:
    """The largest batch of at most so many rows that the ranks can share."""
    return rows - rows % world_size()


def any_says(chosen: bool) -> bool:
    """True on all ranks if any of them says so. All must call it at once."""
    return chosen_by_any([chosen])[0]


def arrays_of(which: int, arrays: Mapping[str, mx.array]) -> dict[str, mx.array]:
    """The arrays of the rank `which`. All must call it at once, with the same names and shapes."""
    if world_size() == 1:
        return dict(arrays)
    found, is_own = {}, rank() == which
    for name in sorted(arrays):
        given = arrays[name] if is_own else mx.zeros_like(arrays[name])
        found[name] = mx.distributed.all_sum(given)
        mx.eval(found[name])
    return found


def text_of(which: int, text: str) -> str:
    """The text of the rank `which`. All must call it at once."""
    if world_size() == 1:
        return text
    data = text.encode()
    [lengths] = from_all(float(len(data)))
    length = int(lengths[which])
    own = list(data) if rank() == which else [0] * length
    return bytes(arrays_of(which, {"": mx.array(own, dtype=mx.int32)})[""].tolist()).decode()  # type: ignore[arg-type]


def is_on_all(condition: mx.array) -> mx.array:
    """Whether `condition` holds on every rank, as an array, also within a compiled graph."""
    if world_size() == 1:
        return condition
    return mx.distributed.all_sum(condition.astype(mx.int32)) == world_size()


def time_all_sum(gradients: Any) -> AllSum:
    """The time of `nn.average_gradients`, which mlx-lm calls, for a tree of such arrays.

    A median of a few, each after all ranks have met. All must call it at once.
    """
    zeros = tree_map(mx.zeros_like, gradients)
    held = sum(each.nbytes for each in _leaves(zeros))
    times_s = []
    for _ in range(_TIMED_SUMS):
        mx.eval(zeros, mx.distributed.all_sum(mx.array(1.0)))
        began = time.perf_counter()
        mx.eval(average_gradients(zeros))
        times_s.append(time.perf_counter() - began)
    return AllSum(statistics.median(times_s), held)


def _leaves(tree: Any) -> Iterable[mx.array]:
    found: list[mx.array] = []
    tree_map(found.append, tree)
    return found


def _let_sums_choose_their_stream() -> None:
    """Let MLX choose where `all_sum` runs, if this group cannot sum on the CPU's stream.

    mlx-lm reports losses by `all_sum(…, stream=mx.cpu)`, which NCCL's group refuses (MLX 0.32.4,
    mlx-lm 0.32.2: "There is no Stream(gpu, 1) in current thread").
    """
    plain = mx.distributed.all_sum
    try:
        mx.eval(plain(mx.array(1.0), stream=mx.cpu))
    except (RuntimeError, ValueError):
        mx.distributed.all_sum = _on_its_own_stream(plain)


def _on_its_own_stream(plain: Callable[..., mx.array]) -> Any:
    def all_sum(x: mx.array, *, group: Any = None, stream: Any = None) -> mx.array:
        del stream
        return plain(x, group=group)

    return all_sum

"""Time of a step of several ranks: that of a rank's share alone, and the gradients over the link.

mlx-lm averages the gradients once an update, after the backward pass has ended: mlx.nn's
`average_gradients` joins arrays to groups of 32 MiB and sums each group over all ranks. In a ring
each rank sends 2 (N - 1) / N of the bytes, in 2 (N - 1) turns that wait for each other (mlx's
ring.cpp); the other backends are counted alike.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pytest_yourai.core.config import LoraConfig
from pytest_yourai.core.hosts import DistributedBackend
from pytest_yourai.core.results import TrialResult

_GROUP_BYTES = 32 * 1024**2
"""`all_reduce_size` of mlx.nn.average_gradients."""

_REPORTED_SUMS = 2
"""mlx-lm also sums loss and tokens, a number each, for every step that it reports."""

_PAYLOAD = 0.9
"""Of what Ethernet carries while as much comes back: without TCP's headers and acknowledgements."""

_BYTES_PER_GBIT = 1e9 / 8

_WAITING = 0.08
"""Of its share alone that a step of several ranks takes longer, its sum left out.

They wait for the slowest, and none updates before all gradients are there. On CUDA as much for each
further rank: 1.03 to 1.11 times with two and 1.19 to 1.40 with four, in the configurations of
`tests/data/hosts_*xh200_*.json`, by NCCL and by ring. As much in mlx-lm's own `train`, also where
no gradients are summed (`tests/performance/stock_ranks.py`). Two and four hosts on the CPU took
0.97 to 1.20 times (`tests/performance/slow_link.py`).
"""

_GBIT = {
    DistributedBackend.RING: 10.0,
    DistributedBackend.MPI: 10.0,
    DistributedBackend.JACCL: 40.0,
    DistributedBackend.JACCL_RING: 40.0,
    DistributedBackend.NCCL: 100.0,
}
"""Between hosts, where nobody says: 10-Gigabit Ethernet, Thunderbolt, InfiniBand."""

_GBIT_HERE = {DistributedBackend.NCCL: 1000.0}
"""Between ranks of one machine: NVLink."""

_GBIT_LOOPBACK = 28.0
"""109 MB took 31 ms between two processes of an H200's host."""

_LATENCY_S = {DistributedBackend.NCCL: 2e-5, DistributedBackend.JACCL: 2e-5}

_LATENCY_OF_TCP_S = 2e-4

_LATENCY_OF_LOOPBACK_S = 5e-5


@dataclass(frozen=True, slots=True)
class Link:
    """What a rank sends in a second, in bytes, and how long one turn of a sum waits, in seconds."""

    bytes_per_s: float
    latency_s: float


def usual_gbit(backend: DistributedBackend, *, is_here: bool) -> float:
    """Speed of the link in Gbit/s where nobody says."""
    return _GBIT_HERE.get(backend, _GBIT_LOOPBACK) if is_here else _GBIT[backend]


def link_of(backend: DistributedBackend, *, is_here: bool, gbit: float | None = None) -> Link:
    """The link of ranks here or of several hosts; `gbit` is its speed in Gbit/s, if known."""
    is_tcp = backend in (DistributedBackend.RING, DistributedBackend.MPI)
    gbit_or_usual = gbit or usual_gbit(backend, is_here=is_here)
    latency_s = _LATENCY_OF_LOOPBACK_S if is_here else _LATENCY_OF_TCP_S
    payload = _PAYLOAD if is_tcp and not (is_here and gbit is None) else 1.0
    return Link(gbit_or_usual * _BYTES_PER_GBIT * payload, _LATENCY_S.get(backend, latency_s))


def measured_link(results: Iterable[TrialResult], world_size: int, usual: Link) -> Link:
    """The link that summed the most gradients in `results` of several ranks; else `usual`."""
    timed = [
        (each.all_sum_bytes, each.all_sum_time_s)
        for each in results
        if each.all_sum_bytes and each.all_sum_time_s
    ]
    if not timed:
        return usual
    most_bytes, time_s = max(timed)
    waits_s = _turns(world_size) * _groups(most_bytes) * usual.latency_s
    sending_s = max(time_s - waits_s, time_s / 2)
    return Link(_sent_share(world_size) * most_bytes / sending_s, usual.latency_s)


def sum_time_s(gradient_bytes: int, world_size: int, link: Link) -> float:
    """Seconds for which the ranks sum the gradients of one update; 0 for one process."""
    if world_size == 1:
        return 0.0
    waits = _turns(world_size) * (_groups(gradient_bytes) + _REPORTED_SUMS)
    return _sent_share(world_size) * gradient_bytes / link.bytes_per_s + waits * link.latency_s


def together_time_s(alone_s: float, sum_s: float, world_size: int, *, on_cuda: bool) -> float:
    """Seconds of a step of several ranks; a share takes `alone_s` alone, and the sum `sum_s`."""
    slowing = world_size - 1 if on_cuda else min(1, world_size - 1)
    return (1 + _WAITING * slowing) * alone_s + sum_s


def _turns(world_size: int) -> int:
    return 2 * (world_size - 1)


def _sent_share(world_size: int) -> float:
    return _turns(world_size) / world_size


def _groups(gradient_bytes: int) -> int:
    return max(1, math.ceil(gradient_bytes / _GROUP_BYTES))


@dataclass(frozen=True, slots=True)
class TimeAlone:
    """Seconds of a step of one process, with as many tokens; `is_measured` unless it is fitted."""

    step_time_s: float
    tokens: float
    is_measured: bool


def time_alone(results: Sequence[TrialResult], config: LoraConfig) -> TimeAlone | None:
    """The time of a step of `config`, from measurements of it or of other batches of the same.

    Between batches a step takes a + b × batch, neither below 0: fitted by least squares of relative
    errors. None where nothing of the kind was measured.
    """
    alike: dict[int, TrialResult] = {}
    for each in results:
        same = dataclasses.replace(each.config, batch_size=config.batch_size)
        if each.step_time_s and each.tokens_per_second and same == config:
            alike[each.config.batch_size] = each
    if not alike:
        return None
    batch = config.batch_size
    nearest = min(alike, key=lambda other: abs(other - batch))
    found = alike[nearest]
    tokens = (found.tokens_per_second or 0) * (found.step_time_s or 0) * batch / nearest
    if nearest == batch:
        return TimeAlone(found.step_time_s or 0, tokens, is_measured=True)
    fixed, each_row = _fitted([(size, of.step_time_s or 0) for size, of in alike.items()])
    return TimeAlone(fixed + each_row * batch, tokens, is_measured=False)


def _fitted(points: Sequence[tuple[int, float]]) -> tuple[float, float]:
    """The a and b of a + b × batch; of one point, or where a were below 0, b alone."""
    weights = [1 / time_s**2 for _, time_s in points]
    total = sum(weights)
    mean_batch = sum(w * batch for w, (batch, _) in zip(weights, points, strict=True)) / total
    mean_s = sum(w * time_s for w, (_, time_s) in zip(weights, points, strict=True)) / total
    spread = sum(w * (b - mean_batch) ** 2 for w, (b, _) in zip(weights, points, strict=True))
    if spread:
        each_row = (
            sum(
                w * (batch - mean_batch) * (time_s - mean_s)
                for w, (batch, time_s) in zip(weights, points, strict=True)
            )
            / spread
        )
        fixed = mean_s - each_row * mean_batch
        if fixed >= 0 and each_row >= 0:
            return fixed, each_row
    squares = sum(w * batch**2 for w, (batch, _) in zip(weights, points, strict=True))
    products = sum(w * batch * time_s for w, (batch, time_s) in zip(weights, points, strict=True))
    return 0.0, products / squares

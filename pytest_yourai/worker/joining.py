"""What a worker is asked, and answers, when it joins a group of ranks: bytes and seconds."""

from __future__ import annotations

from dataclasses import dataclass

from pytest_yourai.core.figures import Count, Duration
from pytest_yourai.core.hosts import DistributedBackend


@dataclass(frozen=True, slots=True)
class JoinRequest:
    """Asks a worker to join its group of ranks, and to time an `all_sum` of so many bytes."""

    backend: DistributedBackend | None
    all_sum_bytes: Count


@dataclass(frozen=True, slots=True)
class AllSum:
    """A timed `mx.distributed.all_sum`: median seconds for so many bytes."""

    time_s: Duration
    bytes: Count


@dataclass(frozen=True, slots=True)
class Joined:
    """The worker is one of a group now."""

    rank: Count
    world_size: Count
    all_sum: AllSum

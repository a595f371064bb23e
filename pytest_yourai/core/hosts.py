"""The group of processes that train one model together, one a machine or GPU, as data."""

from __future__ import annotations

import dataclasses
import enum
from dataclasses import dataclass
from pathlib import Path

from pytest_yourai.core.config import LoraConfig


class DistributedBackend(enum.StrEnum):
    """What MLX's ranks talk through, by the names of `mlx.launch --backend`."""

    RING = "ring"
    JACCL = "jaccl"
    JACCL_RING = "jaccl-ring"
    NCCL = "nccl"
    MPI = "mpi"


@dataclass(frozen=True, slots=True)
class Host:
    """One entry of a hostfile: the name that ssh takes, and addresses that the others reach."""

    ssh: str
    ips: tuple[str, ...] = ()
    rdma: tuple[str | tuple[str, ...] | None, ...] = ()
    """Its RDMA devices towards each rank, None towards itself; empty without any."""


@dataclass(frozen=True, slots=True)
class HostGroup:
    """Ranks that `mlx.launch` starts, in the order of their ranks.

    All on this machine where `hostfile` is None. `backend` is None where `mlx.launch` chooses:
    NCCL with CUDA, ring otherwise.
    """

    hosts: tuple[Host, ...]
    backend: DistributedBackend | None = None
    hostfile: Path | None = None

    @property
    def world_size(self) -> int:
        """The number of ranks."""
        return len(self.hosts)

    @property
    def is_here(self) -> bool:
        """True if all ranks run on this machine."""
        return self.hostfile is None

    def chosen_backend(self, *, has_cuda: bool) -> DistributedBackend:
        """The backend that `mlx.launch` takes."""
        return self.backend or (DistributedBackend.NCCL if has_cuda else DistributedBackend.RING)

    @classmethod
    def here(cls, ranks: int, backend: DistributedBackend | None = None) -> HostGroup:
        """`ranks` processes of this machine."""
        return cls((Host("127.0.0.1", ("127.0.0.1",)),) * ranks, backend)


def rank_share(config: LoraConfig, world_size: int) -> LoraConfig:
    """What one of `world_size` ranks trains of a step of `config`, whose batch is of all of them.

    A batch that they cannot divide, which mlx-lm refuses, is rounded up.
    """
    return dataclasses.replace(config, batch_size=-(-config.batch_size // world_size))

"""The machine's memory as the operating system and the container report it. Bytes."""

from __future__ import annotations

import heapq
import os
import warnings
from dataclasses import dataclass
from pathlib import Path

import psutil

from pytest_yourai.machine.cgroup import MemoryCgroup, read_entry

_VMSTAT = Path("/proc/vmstat")


@dataclass(frozen=True, slots=True)
class SystemMemory:
    """Memory of the machine: total, available and swapped.

    `available_bytes` is the lower of what the machine and what the container has left;
    `container_limit_bytes` is None outside containers. `oom_kills` counts processes that the
    kernel has ended for lack of memory: Linux alone reports them.
    """

    total_bytes: int
    available_bytes: int
    swap_used_bytes: int
    container_limit_bytes: int | None = None
    oom_kills: int = 0

    @property
    def usable_bytes(self) -> int:
        """The total, or the container's limit where that is lower."""
        return min(self.total_bytes, self.container_limit_bytes or self.total_bytes)


def read_system_memory(cgroup: MemoryCgroup | None = None) -> SystemMemory:
    """Within `cgroup`, or that of this process."""
    cgroup = cgroup or MemoryCgroup.of(os.getpid())
    virtual = psutil.virtual_memory()
    limit = cgroup.limit_bytes() if cgroup else None
    left = cgroup.available_bytes() if cgroup else None
    kills = cgroup.oom_kills() if cgroup else None
    return SystemMemory(
        total_bytes=virtual.total,
        available_bytes=virtual.available if left is None else min(virtual.available, left),
        swap_used_bytes=_swap_used_bytes(),
        container_limit_bytes=limit if limit is not None and limit < virtual.total else None,
        oom_kills=(read_entry(_VMSTAT, "oom_kill") or 0) if kills is None else kills,
    )


def _swap_used_bytes() -> int:
    with warnings.catch_warnings():
        # psutil warns where a container hides the swap statistics.
        warnings.simplefilter("ignore", RuntimeWarning)
        return int(psutil.swap_memory().used)


MOST_HOLDERS = 5


@dataclass(frozen=True, slots=True)
class ProcessUse:
    """A process, and what it holds: resident memory, which leaves out what Metal holds."""

    name: str
    pid: int
    held_bytes: int


def largest_processes(count: int = MOST_HOLDERS) -> tuple[ProcessUse, ...]:
    """The processes that hold most memory, the largest first, of those that may be looked at."""
    held = []
    # A process that is gone, or another user's on macOS, has None for what cannot be read.
    for process in psutil.process_iter(["name", "memory_info"]):
        memory, name = process.info["memory_info"], process.info["name"]
        if memory is not None and memory.rss:
            held.append(ProcessUse(name or "unknown", process.pid, int(memory.rss)))
    return tuple(heapq.nlargest(count, held, key=lambda each: each.held_bytes))

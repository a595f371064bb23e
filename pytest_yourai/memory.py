"""The machine's memory, the budget of a sweep, and a process's footprint. Bytes."""

from __future__ import annotations

import resource
import warnings
from dataclasses import dataclass
from pathlib import Path

import psutil

from pytest_yourai.engine.protocol import DeviceInfo
from pytest_yourai.errors import OptionError
from pytest_yourai.units import gigabytes

BUDGET_SHARE = 0.8
"""Of the smallest total: the rest is the system's and other programs'."""

_VMSTAT = Path("/proc/vmstat")

RESERVE_BYTES = 2_000_000_000
"""Of what is available now, kept free."""


@dataclass(frozen=True, slots=True)
class SystemMemory:
    """What the operating system reports.

    `oom_kills` counts processes that the kernel has ended for lack of memory, in containers or
    not, since it started: Linux alone says so.
    """

    total_bytes: int
    available_bytes: int
    swap_used_bytes: int
    oom_kills: int = 0


@dataclass(frozen=True, slots=True)
class Budget:
    """How much a trial may need, with the margin, and why."""

    limit_bytes: int
    reason: str

    def __str__(self) -> str:
        return f"{gigabytes(self.limit_bytes)} ({self.reason})"


def read_system_memory() -> SystemMemory:
    virtual = psutil.virtual_memory()
    with warnings.catch_warnings():
        # psutil warns where a container hides the swap statistics.
        warnings.simplefilter("ignore", RuntimeWarning)
        swap = psutil.swap_memory()
    return SystemMemory(virtual.total, virtual.available, swap.used, _oom_kills())


def _oom_kills() -> int:
    try:
        lines = _VMSTAT.read_text(encoding="ascii").splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), 0)


def detect_budget(system: SystemMemory, device: DeviceInfo) -> Budget:
    """80 % of the smallest total, and never more than what is available now less 2 GB.

    A CUDA device's memory is its own; on Metal and on the CPU the system's counts as well.
    OptionError where nothing would be left.
    """
    if device.backend == "cuda" and device.memory_bytes is not None:
        total = device.memory_bytes
        available = device.free_memory_bytes or total
    else:
        total = min(system.total_bytes, device.memory_bytes or system.total_bytes)
        available = system.available_bytes
    share = round(total * BUDGET_SHARE)
    left = available - RESERVE_BYTES
    if share <= left:
        return Budget(share, f"{BUDGET_SHARE:.0%} of {gigabytes(total)}".replace("%", " %"))
    if left <= 0:
        raise OptionError(
            f"only {gigabytes(available)} of memory is available: close programs, or set "
            "--yourai-max-memory"
        )
    return Budget(left, f"{gigabytes(available)} available now, less {gigabytes(RESERVE_BYTES)}")


def address_space_limit_bytes() -> int | None:
    """RLIMIT_AS of this process, which its children inherit; None where there is none."""
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    return None if limit == resource.RLIM_INFINITY else limit


def process_footprint_bytes(pid: int | None, device: DeviceInfo) -> int | None:
    """The process's resident memory; None where it is gone, or has an accelerator.

    Resident memory leaves out what Metal and CUDA hold, so there it would be a wrong number.
    """
    if pid is None or device.backend != "cpu":
        return None
    try:
        return int(psutil.Process(pid).memory_info().rss)
    except psutil.Error:
        return None

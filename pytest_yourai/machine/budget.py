"""The memory budget of a trial: detected, or as the user gave it. Bytes."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass

from pytest_yourai.core.device import DeviceInfo
from pytest_yourai.core.errors import OptionError, TooLittleMemoryError
from pytest_yourai.core.units import GB, gigabytes
from pytest_yourai.machine.mac import wired_limit_bytes
from pytest_yourai.machine.system_memory import SystemMemory, read_system_memory

BUDGET_SHARE = 0.8
"""Share of the smallest total; the rest is left to the system and other programs."""

_GIB = 1 << 30

_WORKING_SET_SHARES = (
    (16 * _GIB, 2 / 3),
    (32 * _GIB, 0.74),
    (64 * _GIB, 0.78),
    (96 * _GIB, 0.81),
)
"""Shares of a Mac's memory, where it is less than that, that Metal recommends as the working set.

What llama.cpp logged in 2026 on Macs with 16, 24, 32, 36, 48, 64 and 128 GiB; macOS before 26
recommends 2/3 up to 32 GiB and 3/4 above. Those with less were not seen anew.
"""

_LARGEST_SHARE = 0.84

RESERVE_BYTES = 2_000_000_000
"""Kept free of what is available now."""


@dataclass(frozen=True, slots=True)
class Budget:
    """The memory that a trial may need, with the margin, and where the figure comes from."""

    limit_bytes: int
    reason: str
    is_detected: bool = False

    def __str__(self) -> str:
        return f"{gigabytes(self.limit_bytes)} ({self.reason})"


def choose_budget(given_bytes: int | None, device: DeviceInfo) -> Budget:
    """The user's budget where one is given, else the one that this machine has now."""
    system = read_system_memory()
    if given_bytes is None:
        return detect_budget(system, device)
    return given_budget(given_bytes, system, device)


@dataclass(frozen=True, slots=True)
class HostShare:
    """What a host has for the ranks that run on it. Bytes."""

    host: str
    usable_bytes: int
    available_bytes: int
    ranks: int


def choose_shared_budget(
    given_bytes: int | None, device: DeviceInfo, shares: Sequence[HostShare]
) -> Budget:
    """The budget of each rank of a group: the least of what their hosts have for one.

    A budget that was given is each rank's, and no host may have less for its ranks together.
    OptionError, and TooLittleMemoryError, as for one machine.
    """
    budgets = []
    are_several = len({share.host for share in shares}) > 1
    for share in shares:
        machine = share.host if are_several else _THIS
        ranks = 1 if device.has_own_memory else share.ranks
        system = SystemMemory(share.usable_bytes, share.available_bytes, 0)
        if given_bytes is not None:
            budgets.append(given_budget(given_bytes, system, device, ranks, machine))
            continue
        whole = detect_budget(system, device, machine)
        reason = f"{whole.reason}{_shared_by(ranks)}"
        budgets.append(Budget(whole.limit_bytes // ranks, reason, is_detected=True))
    return min(budgets, key=lambda each: each.limit_bytes)


_THIS = "this machine"


def detect_budget(system: SystemMemory, device: DeviceInfo | None, machine: str = _THIS) -> Budget:
    """80 % of the smallest total, and never more than what is available now less 2 GB.

    The totals are the machine's, its container's, and on Metal the recommended working set, which
    follows the sysctl iogpu.wired_limit_mb where that was set by hand. A CUDA device's memory is
    its own. `device` None means that MLX was not asked: the working set of a Mac is assumed then,
    and no device has memory of its own. TooLittleMemoryError where nothing would be left.
    """
    total, what = _smallest_total(system, device, machine)
    there = "" if machine == _THIS else f" on {machine}"
    available = system.available_bytes
    if device is not None and device.has_own_memory:
        available = total if device.free_memory_bytes is None else device.free_memory_bytes
    share = round(total * BUDGET_SHARE)
    left = available - RESERVE_BYTES
    if share <= left:
        percent = f"{BUDGET_SHARE * 100:.0f} %"
        return Budget(share, f"{percent} of {gigabytes(total)}{what}", is_detected=True)
    if left <= 0:
        raise TooLittleMemoryError(
            f"only {gigabytes(available)} of memory is available{there}: close programs, or set "
            "--yourai-max-memory"
        )
    reason = f"{gigabytes(available)} available{there} now, less {gigabytes(RESERVE_BYTES)}"
    return Budget(left, reason, is_detected=True)


def given_budget(
    limit_bytes: int,
    system: SystemMemory,
    device: DeviceInfo,
    ranks: int = 1,
    machine: str = _THIS,
) -> Budget:
    """The user's own; OptionError where the machine does not have as much for each rank on it."""
    physical, what = _physical(system, device, machine)
    if limit_bytes * ranks > physical:
        raise OptionError(
            f"--yourai-max-memory: {limit_bytes / GB:g} GB is more than the "
            f"{physical / ranks / GB:.3f} GB of {what}{_shared_by(ranks)}: give less, or leave it "
            "out"
        )
    return Budget(limit_bytes, "as given")


def assumed_working_set(total_bytes: int) -> int:
    """What Metal probably recommends on a Mac with that much memory, where it is not asked."""
    shares = (share for limit, share in _WORKING_SET_SHARES if total_bytes < limit)
    return round(total_bytes * next(shares, _LARGEST_SHARE))


def _shared_by(ranks: int) -> str:
    return f", shared by {ranks} ranks" if ranks > 1 else ""


def _smallest_total(
    system: SystemMemory, device: DeviceInfo | None, machine: str
) -> tuple[int, str]:
    physical, what = _physical(system, device, machine)
    wired_bytes = wired_limit_bytes()
    if device is None and wired_bytes is not None:
        return min(wired_bytes, system.total_bytes), _WIRED
    if device is None and sys.platform == "darwin":
        assumed = assumed_working_set(system.total_bytes)
        return assumed, ", the working set assumed for this Mac"
    working_set = device.memory_bytes if device is not None else None
    is_metal = device is not None and device.backend == "metal"
    if is_metal and working_set is not None and working_set < physical:
        return working_set, ", the recommended working set" if wired_bytes is None else _WIRED
    return physical, "" if what == _THIS else f", {what}"


_WIRED = ", the working set that iogpu.wired_limit_mb allows"


def _physical(system: SystemMemory, device: DeviceInfo | None, machine: str) -> tuple[int, str]:
    if device is not None and device.has_own_memory and device.memory_bytes is not None:
        return device.memory_bytes, "the device"
    if system.container_limit_bytes is not None:
        return system.usable_bytes, "the container"
    return system.total_bytes, machine

"""Checks the machine and the worker while a trial runs, and stops the trial in danger. Bytes.

The parent does so between messages of the worker, a few times a second. A check took 0.45 ms on
Linux (two cores, AMD EPYC), 0.2 % of a core.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from pytest_yourai.core.device import MlxMemory
from pytest_yourai.core.errors import SafetyStopError
from pytest_yourai.core.units import gigabytes
from pytest_yourai.machine.cgroup import MemoryCgroup
from pytest_yourai.machine.process_memory import address_space_limit_bytes, read_process_memory
from pytest_yourai.machine.system_memory import SystemMemory, read_system_memory

INTERVAL_S = 0.25

_LARGEST_FLOOR_BYTES = 2_000_000_000

_FLOOR_SHARE = 0.05

_TOLERATED_EXCESS = 0.10

_OWN_SHARE = 0.5
"""Share of the drop in available memory above which the trial itself is to blame."""

_SHARE_OF_SWAPPED = 0.5

_SHARE_OF_ROOM = 0.25
"""Shares of what was swapped out, and of the room there was, that a worker holds which pages."""

_LEAST_TOLERATED_BYTES = 200_000_000
"""With small budgets: a worker of `tiny` grew by up to 25 MB beside its 12 MB of arrays (Linux)."""


def floor_bytes(system: SystemMemory) -> int:
    """The memory that must stay available: 2 GB, or 5 % of a small machine or container."""
    return min(_LARGEST_FLOOR_BYTES, round(_FLOOR_SHARE * system.usable_bytes))


def footprint_limit_bytes(budget_bytes: int) -> int:
    """The most that a worker may hold: the budget and 10 %, for what it takes beside arrays."""
    return budget_bytes + max(_LEAST_TOLERATED_BYTES, round(_TOLERATED_EXCESS * budget_bytes))


def too_little_left(system: SystemMemory, floor: int | None = None) -> str | None:
    """The reason why no trial should run now, None where one may; `floor` replaces the usual."""
    floor = floor_bytes(system) if floor is None else floor
    if system.available_bytes >= floor:
        return None
    return (
        f"{gigabytes(system.available_bytes)} of memory was available, under the floor of "
        f"{gigabytes(floor)}"
    )


def too_much_held(
    footprint_bytes: int | None, budget_bytes: int, holder: str = "the worker"
) -> str | None:
    """The reason why a trial should not go on; None where it may."""
    limit = footprint_limit_bytes(budget_bytes)
    if footprint_bytes is None or footprint_bytes <= limit:
        return None
    return (
        f"{holder} held {gigabytes(footprint_bytes)}, over the budget of "
        f"{gigabytes(budget_bytes)} and what is tolerated beyond it ({gigabytes(limit)})"
    )


@dataclass
class MemoryTrace:
    """The extremes of what was read during one trial.

    Footprints are the worker's growth since before it loaded the model; on CUDA the growth of
    what its device has given away.
    """

    before: SystemMemory
    largest_footprint_bytes: int | None = None
    least_available_bytes: int | None = None
    largest_swap_used_bytes: int = 0
    largest_address_space_bytes: int = 0
    address_space_limit_bytes: int | None = field(default_factory=address_space_limit_bytes)
    largest_mlx_bytes: int = 0
    """The largest MLX peak, or active memory with the cache."""
    was_under_the_floor: bool = False
    oom_kills: int = 0
    """Number of processes that the kernel ended meanwhile in the worker's container."""
    largest_held_bytes: int | None = None
    """The most that the worker's process held of the system's memory, all in all."""
    room_bytes: int | None = None
    """What the worker held at the start and what was available then, within its container."""

    def take_in(self, other: MemoryTrace) -> None:
        """Widen the extremes by those of another machine, whose worker is one of the same run."""
        for name in ("largest_footprint_bytes", "largest_held_bytes"):
            both = [v for each in (self, other) if (v := getattr(each, name)) is not None]
            setattr(self, name, max(both, default=None))
        for name in ("largest_address_space_bytes", "largest_mlx_bytes", "oom_kills"):
            setattr(self, name, max(getattr(self, name), getattr(other, name)))
        for name in ("least_available_bytes", "room_bytes", "address_space_limit_bytes"):
            both = [v for each in (self, other) if (v := getattr(each, name)) is not None]
            setattr(self, name, min(both, default=None))
        swapped = self.before.swap_used_bytes + other.swap_growth_bytes
        self.largest_swap_used_bytes = max(self.largest_swap_used_bytes, swapped)
        self.was_under_the_floor |= other.was_under_the_floor

    @property
    def swap_growth_bytes(self) -> int:
        return max(0, self.largest_swap_used_bytes - self.before.swap_used_bytes)

    @property
    def can_have_caused_swapping(self) -> bool:
        """False where the worker held too little for what was swapped, or for the room it had.

        True where it is not known how much it held.
        """
        held, room = self.largest_held_bytes, self.room_bytes
        if held is None or room is None:
            return True
        is_as_much = held >= _SHARE_OF_SWAPPED * self.swap_growth_bytes
        return is_as_much and held >= _SHARE_OF_ROOM * room


class Guard:
    """Checks the machine and one worker during one run.

    `before` is the machine's memory at its start, by default now. With `forced` a danger is kept
    in `warnings`, and the run goes on.
    """

    def __init__(
        self, budget_bytes: int, before: SystemMemory | None = None, *, forced: bool
    ) -> None:
        before = before or read_system_memory()
        self.budget_bytes = budget_bytes
        self.trace = MemoryTrace(before, largest_swap_used_bytes=before.swap_used_bytes)
        self.warnings: list[str] = []
        self.mlx: MlxMemory | None = None
        """The last report of the worker."""
        self._warned_of: set[str] = set()
        self.is_forced = forced
        self._pid: int | None = None
        self._base_bytes = 0
        self._footprint_at_start = 0
        self._device_used_bytes: int | None = None
        self._has_own_memory = False
        self._cgroup: MemoryCgroup | None = None
        self._earlier_kills = before.oom_kills
        self._next_at = 0.0

    def attach(self, pid: int, base_bytes: int, *, has_own_memory: bool) -> None:
        """Watch this worker, which held `base_bytes` before it loaded the model.

        With `has_own_memory`, on CUDA, the worker reports how much of the device is in use.
        """
        self._pid, self._base_bytes = pid, base_bytes
        self._has_own_memory = has_own_memory
        self._footprint_at_start = self.read_footprint() or 0
        # Its container need not be ours, and each counts its own.
        self._cgroup = MemoryCgroup.of(pid)
        system = read_system_memory(self._cgroup)
        self._earlier_kills = system.oom_kills
        self.trace.room_bytes = system.available_bytes + (self.trace.largest_held_bytes or 0)

    def watch_elsewhere(self, *, has_own_memory: bool) -> None:
        """Watch workers on other machines too, by what guards there have seen: see `take_in`."""
        self._has_own_memory = has_own_memory

    def take_in(self, seen: MemoryTrace, warnings: Sequence[str], base_bytes: int) -> None:
        """Take in what the guard of one more machine has seen by now of the same run.

        `base_bytes` is what the worker there held before it loaded the model.
        """
        self.trace.take_in(seen)
        self.warnings += [each for each in warnings if each not in self.warnings]
        self._base_bytes = max(self._base_bytes, base_bytes)

    def note(self, memory: MlxMemory) -> None:
        """Take in how much MLX holds."""
        self.mlx = memory
        held = max(memory.peak_bytes, memory.active_bytes + memory.cache_bytes)
        self.trace.largest_mlx_bytes = max(self.trace.largest_mlx_bytes, held)
        if memory.device_used_bytes is not None:
            self._device_used_bytes = memory.device_used_bytes

    def read_footprint(self) -> int | None:
        """Read the worker's growth, and keep its maximum; None where it is gone or not known."""
        if self._pid is None:
            return None
        trace, held = self.trace, self._device_used_bytes
        if process := read_process_memory(self._pid):
            space = process.address_space_bytes or 0
            trace.largest_address_space_bytes = max(trace.largest_address_space_bytes, space)
            trace.largest_held_bytes = max(trace.largest_held_bytes or 0, process.footprint_bytes)
        if not self._has_own_memory:
            held = process.footprint_bytes if process else None
        if held is None:
            return None
        growth = max(0, held - self._base_bytes)
        trace.largest_footprint_bytes = max(growth, trace.largest_footprint_bytes or 0)
        return growth

    @property
    def pool_bytes(self) -> int | None:
        """The most that was in use of a CUDA device, whose pools may keep it; None elsewhere."""
        if not self._has_own_memory or self.trace.largest_footprint_bytes is None:
            return None
        return self._base_bytes + self.trace.largest_footprint_bytes

    def due_in_s(self) -> float:
        return max(0.0, self._next_at - time.monotonic())

    def check(self) -> None:
        """SafetyStopError where the run must end."""
        self._next_at = time.monotonic() + INTERVAL_S
        system = self.read_system()
        footprint = self.read_footprint()
        holder = "the device" if self._has_own_memory else "the worker"
        if held := too_much_held(footprint, self.budget_bytes, holder):
            self._warn_or_stop(held, "footprint", is_its_own_fault=True)
        if left := too_little_left(system):
            taken = self.trace.before.available_bytes - system.available_bytes
            grown = (footprint or 0) - self._footprint_at_start
            own = grown > 0 and grown >= _OWN_SHARE * taken
            self._warn_or_stop(left, "floor", is_its_own_fault=own)

    def read_system(self) -> SystemMemory:
        """Read the machine's memory as the worker's container shows it, even once that is gone."""
        cgroup = MemoryCgroup.of(self._pid) if self._pid is not None else None
        if cgroup is not None and cgroup != self._cgroup:
            self._cgroup = cgroup
            self._earlier_kills = read_system_memory(cgroup).oom_kills
        system = read_system_memory(self._cgroup)
        trace = self.trace
        # Those of another machine, which were taken in, are not counted here.
        trace.oom_kills = max(trace.oom_kills, system.oom_kills - self._earlier_kills)
        trace.largest_swap_used_bytes = max(trace.largest_swap_used_bytes, system.swap_used_bytes)
        trace.was_under_the_floor |= too_little_left(system) is not None
        if trace.room_bytes is not None:
            trace.room_bytes = min(trace.room_bytes, system.usable_bytes)
        least = trace.least_available_bytes
        available = system.available_bytes
        trace.least_available_bytes = available if least is None else min(least, available)
        return system

    def _warn_or_stop(self, danger: str, kind: str, *, is_its_own_fault: bool) -> None:
        if not self.is_forced:
            raise SafetyStopError(danger, is_its_own_fault=is_its_own_fault)
        if kind not in self._warned_of:
            self._warned_of.add(kind)
            self.warnings.append(f"{danger}; it went on because of --yourai-force")

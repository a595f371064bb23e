"""Watches the machine while a trial runs, and says when the trial must end. Bytes.

Asked by the parent between messages of the worker, a few times a second. A look took 0.3 ms on
Linux (two cores, AMD EPYC), 0.1 % of a core.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from pytest_yourai.engine.protocol import MlxMemory
from pytest_yourai.errors import SafetyStopError
from pytest_yourai.memory.cgroup import MemoryCgroup
from pytest_yourai.memory.footprint import read_process_memory
from pytest_yourai.memory.system import SystemMemory, read_system_memory
from pytest_yourai.units import gigabytes

INTERVAL_S = 0.25

_LARGEST_FLOOR_BYTES = 2_000_000_000
_FLOOR_SHARE = 0.05

_TOLERATED_EXCESS = 0.10
_LEAST_TOLERATED_BYTES = 200_000_000
"""What a worker takes beside MLX's arrays."""


@dataclass(frozen=True, slots=True)
class GuardLimits:
    """`floor_bytes` must stay available; the worker's footprint must stay within the other."""

    floor_bytes: int
    footprint_limit_bytes: int

    @classmethod
    def of(cls, system: SystemMemory, budget_bytes: int) -> GuardLimits:
        """2 GB, or 5 % of a small machine; the budget and 10 %."""
        return cls(
            floor_bytes=min(_LARGEST_FLOOR_BYTES, round(_FLOOR_SHARE * system.usable_bytes)),
            footprint_limit_bytes=budget_bytes
            + max(_LEAST_TOLERATED_BYTES, round(_TOLERATED_EXCESS * budget_bytes)),
        )

    def danger(self, available_bytes: int, footprint_bytes: int | None = None) -> str | None:
        """Why no trial should run now, in words; None where one may."""
        if available_bytes < self.floor_bytes:
            return (
                f"{gigabytes(available_bytes)} of memory was available, under the floor of "
                f"{gigabytes(self.floor_bytes)}"
            )
        if footprint_bytes is not None and footprint_bytes > self.footprint_limit_bytes:
            return (
                f"the worker held {gigabytes(footprint_bytes)}, over the budget and what is "
                f"tolerated beyond it ({gigabytes(self.footprint_limit_bytes)})"
            )
        return None


@dataclass
class MemoryTrace:
    """The extremes of what was seen during one trial.

    Footprints are the worker's growth since before it loaded the model; on CUDA the growth of
    what its device has given away.
    """

    before: SystemMemory
    largest_footprint_bytes: int | None = None
    least_available_bytes: int | None = None
    largest_swap_used_bytes: int = 0
    largest_address_space_bytes: int = 0
    largest_mlx_bytes: int = 0
    """The largest MLX peak, or active memory with the cache."""
    oom_kills: int = 0
    """How many processes the kernel ended meanwhile, in the worker's container."""

    @property
    def swap_growth_bytes(self) -> int:
        return max(0, self.largest_swap_used_bytes - self.before.swap_used_bytes)


class Guard:
    """Looks at the machine and at one worker, for one trial.

    With `forced` a danger is kept in `warnings`, and the trial goes on.
    """

    def __init__(self, limits: GuardLimits, before: SystemMemory, *, forced: bool) -> None:
        self.trace = MemoryTrace(before, largest_swap_used_bytes=before.swap_used_bytes)
        self.warnings: list[str] = []
        self._limits = limits
        self._forced = forced
        self._pid: int | None = None
        self._base_bytes = 0
        self._device_used_bytes: int | None = None
        self._has_own_memory = False
        self._cgroup: MemoryCgroup | None = None
        self._earlier_kills = before.oom_kills
        self._next_at = 0.0

    def attach(self, pid: int, base_bytes: int, *, has_own_memory: bool) -> None:
        """Watch this worker, which held `base_bytes` before it loaded the model.

        `has_own_memory` is that of a CUDA device: the worker says then what is taken of it.
        """
        self._pid, self._base_bytes = pid, base_bytes
        self._has_own_memory = has_own_memory

    def note(self, memory: MlxMemory) -> None:
        """Take in what the worker says that MLX holds."""
        held = max(memory.peak_bytes, memory.active_bytes + memory.cache_bytes)
        self.trace.largest_mlx_bytes = max(self.trace.largest_mlx_bytes, held)
        if memory.device_used_bytes is not None:
            self._device_used_bytes = memory.device_used_bytes

    def footprint_bytes(self) -> int | None:
        """The worker's growth as of now; None where it is gone, or has not said so yet."""
        if self._pid is None:
            return None
        process = read_process_memory(self._pid)
        if process and process.address_space_bytes:
            self.trace.largest_address_space_bytes = max(
                self.trace.largest_address_space_bytes, process.address_space_bytes
            )
        held = process.footprint_bytes if process else None
        if self._has_own_memory:
            held = self._device_used_bytes
        if held is None:
            return None
        growth = max(0, held - self._base_bytes)
        self.trace.largest_footprint_bytes = max(growth, self.trace.largest_footprint_bytes or 0)
        return growth

    def due_in_s(self) -> float:
        return max(0.0, self._next_at - time.monotonic())

    def look(self) -> None:
        """SafetyStopError where the trial must end."""
        self._next_at = time.monotonic() + INTERVAL_S
        footprint = self.footprint_bytes()
        system = self.read_system()
        if danger := self._limits.danger(system.available_bytes, footprint):
            self._warn_or_stop(danger, footprint)

    def read_system(self) -> SystemMemory:
        """The machine as the worker's own container shows it, also once the worker is gone."""
        cgroup = MemoryCgroup.of(self._pid) if self._pid is not None else None
        if cgroup is not None and cgroup != self._cgroup:
            if self._cgroup is not None:
                self._earlier_kills = cgroup.oom_kills() or 0
            self._cgroup = cgroup
        system = read_system_memory(self._cgroup)
        trace = self.trace
        trace.oom_kills = max(0, system.oom_kills - self._earlier_kills)
        trace.largest_swap_used_bytes = max(trace.largest_swap_used_bytes, system.swap_used_bytes)
        least = trace.least_available_bytes
        if least is None or system.available_bytes < least:
            trace.least_available_bytes = system.available_bytes
        return system

    def _warn_or_stop(self, danger: str, footprint_bytes: int | None) -> None:
        if not self._forced:
            raise SafetyStopError(danger)
        is_over_budget = (footprint_bytes or 0) > self._limits.footprint_limit_bytes
        kind = "the footprint" if is_over_budget else "the floor"
        if not any(warning.startswith(kind) for warning in self.warnings):
            self.warnings.append(f"{kind}: {danger}; it went on because of --yourai-force")

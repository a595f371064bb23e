"""The rows of the table: machines, told apart by what measurements depend on."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from pytest_yourai.core.conditions import Environment, SweepSettings
from pytest_yourai.core.units import machine_memory

_SAME_MEMORY = 1.05
"""A machine's own memory differs by less from one start of its system to the next."""


@dataclass(frozen=True, slots=True)
class Machine:
    """A machine, or several that train together, with its MLX; None where a profile has none."""

    name: str
    gpu_cores: int | None
    memory_bytes: int | None
    backend: str | None
    mlx: str | None
    world_size: int = 1
    distributed_backend: str | None = None

    @classmethod
    def of(cls, environment: Environment, settings: SweepSettings) -> Machine:
        """The machine of a profile; its memory is that of the GPU where that has its own."""
        own = environment.device if environment.backend == "cuda" else environment.chip
        memory_bytes = environment.system_memory_bytes
        if environment.backend == "cuda":
            memory_bytes = environment.device_memory_bytes
        return cls(
            name=own or environment.device or environment.chip or "a machine without a name",
            gpu_cores=environment.gpu_cores,
            memory_bytes=memory_bytes,
            backend=environment.backend,
            mlx=environment.versions.get("mlx"),
            world_size=settings.ranks,
            distributed_backend=settings.distributed_backend if settings.ranks > 1 else None,
        )

    @property
    def title(self) -> str:
        """`Apple M4 Max, 40 GPU cores`, and `2 × Apple M4 Max, 40 GPU cores, ring`."""
        several = f"{self.world_size} × " if self.world_size > 1 else ""
        cores = f"{self.gpu_cores} GPU cores" if self.gpu_cores else None
        parts = (f"{several}{self.name}", cores, self.distributed_backend)
        return ", ".join(part for part in parts if part)

    @property
    def memory(self) -> str:
        """Its memory in both units; a question mark where it is not known."""
        return machine_memory(self.memory_bytes) if self.memory_bytes else "?"

    @property
    def software(self) -> str:
        """`metal, MLX 0.32.4`."""
        return f"{self.backend or '?'}, MLX {self.mlx or '?'}"

    @property
    def measures_like(self) -> tuple[Any, ...] | None:
        """Equal where minimum memory is the same; None where nothing is known of it."""
        if self.backend is None or self.mlx is None:
            return None
        return self.backend, self.mlx, self.world_size, self.distributed_backend

    @property
    def order(self) -> tuple[Any, ...]:
        """Key by which machines are listed."""
        return (
            self.name.casefold(),
            self.world_size,
            self.distributed_backend or "",
            self.gpu_cores or 0,
            self.memory_bytes or 0,
            self.backend or "",
            self.mlx or "",
        )


def same_machines(machines: Iterable[Machine]) -> dict[Machine, Machine]:
    """The machine that each counts as: of those alike but for a little memory, the smallest."""
    found: dict[Machine, Machine] = {}
    first: Machine | None = None
    for each in sorted(set(machines), key=_but_for_memory):
        if first is None or not _is_alike(first, each):
            first = each
        found[each] = first
    return found


def _but_for_memory(machine: Machine) -> tuple[Any, ...]:
    name, ranks, ring, cores, memory_bytes, backend, mlx = machine.order
    return name, machine.name, ranks, ring, cores, backend, mlx, memory_bytes


def _is_alike(first: Machine, other: Machine) -> bool:
    if _but_for_memory(first)[:-1] != _but_for_memory(other)[:-1]:
        return False
    return (other.memory_bytes or 0) <= (first.memory_bytes or 0) * _SAME_MEMORY

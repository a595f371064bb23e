"""The memory budget of a training run: a flag's, the checkpoint's, the profile's, or detected."""

from __future__ import annotations

from dataclasses import dataclass

from pytest_yourai.core.units import gigabytes
from pytest_yourai.machine import environment
from pytest_yourai.machine.system_memory import read_system_memory
from pytest_yourai.training.measured_profile import ChosenConfig
from pytest_yourai.training.used_settings import DEFAULT


@dataclass(frozen=True)
class MemoryLimit:
    """The memory budget in bytes, None to detect it; where it comes from, and warnings."""

    bytes: int | None = None
    origin: str = DEFAULT
    warnings: tuple[str, ...] = ()


def choose_limit(
    found: MemoryLimit, chosen: ChosenConfig | None, *, is_flag: bool, is_measured_here: bool
) -> MemoryLimit:
    """The budget that was `found`; a flag's as it is, any other unless the machine has less.

    Where none was, that of the profile of the `chosen` configuration, if it was measured here.
    """
    if is_flag:
        return found
    if found.bytes is None and chosen and chosen.profile and is_measured_here:
        found = MemoryLimit(chosen.profile.memory_limit_bytes, chosen.origin)
    if found.bytes is None:
        return MemoryLimit()
    # Memory of a CUDA device is its own, and only MLX knows its size.
    here_bytes = read_system_memory().usable_bytes
    if found.bytes <= here_bytes or environment.installed_backend() == "cuda":
        return found
    warning = (
        f"the budget of {gigabytes(found.bytes)} ({found.origin}) is more than this "
        f"machine's {gigabytes(here_bytes)}: it is detected anew"
    )
    return MemoryLimit(warnings=(warning,))

"""The device that MLX runs on, and its memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pytest_yourai.core.figures import Bytes, HeldBytes

Backend = Literal["cpu", "metal", "cuda"]


@dataclass(frozen=True, slots=True)
class DeviceInfo:
    """The device that MLX runs on.

    `memory_bytes` and `free_memory_bytes` are the accelerator's own, if any. On Metal the
    first is the recommended working set.
    """

    backend: Backend
    name: str
    memory_bytes: HeldBytes | None
    free_memory_bytes: Bytes | None
    mlx_version: str
    mlx_lm_version: str

    @property
    def has_own_memory(self) -> bool:
        """True if it shares nothing with the system's memory."""
        return self.backend == "cuda"


@dataclass(frozen=True, slots=True)
class MlxMemory:
    """Memory that MLX holds at one moment. Bytes.

    `peak_bytes` is the largest since the last step ended; `device_used_bytes` what the whole CUDA
    device has given away, to any process, None elsewhere.
    """

    active_bytes: Bytes
    peak_bytes: Bytes
    cache_bytes: Bytes
    device_used_bytes: Bytes | None = None

"""The device that MLX runs on, and its memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pytest_yourai.core.figures import Bytes, Count, HeldBytes

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
    max_buffer_bytes: HeldBytes | None = None
    """The largest single array; Metal alone has such a limit."""
    max_buffers: Count | None = None
    """The number of arrays that may be held at once; Metal alone has such a limit."""

    @classmethod
    def of(
        cls, backend: Backend, info: Mapping[str, Any], mlx_version: str, mlx_lm_version: str
    ) -> DeviceInfo:
        """From MLX's `device_info()`, whose keys differ between backends (MLX 0.32.4).

        Metal has memory_size, max_recommended_working_set_size, max_buffer_length, resource_limit,
        device_name and architecture; CUDA total_memory, free_memory and device_name; the CPU only
        names.
        """

        def size(*names: str) -> int | None:
            return next((int(info[name]) for name in names if info.get(name)), None)

        return cls(
            backend=backend,
            name=str(info.get("device_name") or "unknown"),
            memory_bytes=size("max_recommended_working_set_size", "total_memory"),
            free_memory_bytes=size("free_memory"),
            mlx_version=mlx_version,
            mlx_lm_version=mlx_lm_version,
            max_buffer_bytes=size("max_buffer_length"),
            max_buffers=size("resource_limit"),
        )

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

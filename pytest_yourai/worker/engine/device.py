"""Where MLX runs, and what of that device and of this process is in use."""

from __future__ import annotations

import importlib.metadata
import os
from typing import Literal

import mlx.core as mx

from pytest_yourai.core.device import DeviceInfo
from pytest_yourai.machine.process_memory import read_process_memory


def describe() -> DeviceInfo:
    """What `mx.device_info()` says, in one form for all backends.

    Keys per backend (MLX 0.32.4): Metal has memory_size, max_recommended_working_set_size and
    device_name; CUDA total_memory, free_memory and device_name; the CPU only names.
    """
    info = mx.device_info()
    memory = info.get("max_recommended_working_set_size") or info.get("total_memory")
    free = info.get("free_memory")
    return DeviceInfo(
        backend=_backend(),
        name=str(info.get("device_name") or "unknown"),
        memory_bytes=int(memory) if memory else None,
        free_memory_bytes=int(free) if free else None,
        mlx_version=importlib.metadata.version("mlx"),
        mlx_lm_version=importlib.metadata.version("mlx-lm"),
    )


def used_bytes() -> int | None:
    """What a CUDA device has given away to all processes, None elsewhere.

    MLX asks NVML for it anew each time (0.32.4, cuda/device_info.cpp).
    """
    if _backend() != "cuda":
        return None
    info = mx.device_info()
    return int(info["total_memory"]) - int(info["free_memory"])


def footprint_bytes() -> int | None:
    """Of this process; on CUDA what its device has given away."""
    used = used_bytes()
    if used is not None:
        return used
    process = read_process_memory(os.getpid())
    return process.footprint_bytes if process else None


def _backend() -> Literal["cpu", "metal", "cuda"]:
    if mx.default_device() == mx.cpu:
        return "cpu"
    return "metal" if mx.metal.is_available() else "cuda"

"""MLX's device, and the memory in use on it and in this process."""

from __future__ import annotations

import os
from typing import Literal

import mlx.core as mx
import mlx_lm

from pytest_yourai.core.device import DeviceInfo
from pytest_yourai.machine.process_memory import read_process_memory


def describe() -> DeviceInfo:
    """`mx.device_info()` in one form for all backends."""
    return DeviceInfo.of(_backend(), mx.device_info(), vars(mx)["__version__"], mlx_lm.__version__)


def device_used_bytes() -> int | None:
    """Memory in use on a CUDA device, by all processes; None elsewhere.

    MLX asks NVML for it anew each time (0.32.4, cuda/device_info.cpp).
    """
    if _backend() != "cuda":
        return None
    info = mx.device_info()
    return int(info["total_memory"]) - int(info["free_memory"])


def in_use_bytes() -> int | None:
    """The footprint of this process; on CUDA the memory in use on its device, by all processes."""
    if (used := device_used_bytes()) is not None:
        return used
    process = read_process_memory(os.getpid())
    return process.footprint_bytes if process else None


def _backend() -> Literal["cpu", "metal", "cuda"]:
    if mx.default_device() == mx.cpu:
        return "cpu"
    return "metal" if mx.metal.is_available() else "cuda"

"""The engine that uses MLX and mlx-lm. With its `mlx_` neighbours the only importer of both."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable
from typing import Literal

import mlx.core as mx
from mlx import nn

from pytest_yourai.engine import mlx_training, mlx_weights
from pytest_yourai.engine.protocol import (
    DeviceInfo,
    Inspection,
    Measurement,
    ModelSource,
    StepSample,
    TrialRequest,
)
from pytest_yourai.errors import ModelError


class MlxEngine:
    """Holds one base model and runs trials on it, in this process."""

    def __init__(self) -> None:
        self._model: nn.Module | None = None
        self._base_bytes = 0
        self._lora_keys: tuple[str, ...] = ()
        self._folder: str | None = None

    def device(self) -> DeviceInfo:
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

    def inspect(self, source: ModelSource, data: str | None) -> Inspection:
        found = mlx_weights.inspect(source)
        if data is not None:
            mlx_training.read_data(data, source.folder)
        return found

    def load(self, source: ModelSource) -> int:
        self._model = mlx_weights.load(source)
        self._lora_keys = mlx_weights.matching_lora_keys(self._model, source.lora_keys, source.name)
        self._folder = source.folder
        self._base_bytes = mx.get_active_memory()
        return self._base_bytes

    def run_trial(self, request: TrialRequest, report: Callable[[StepSample], None]) -> Measurement:
        if self._model is None:
            raise ModelError("no model is loaded")
        return mlx_training.run_trial(
            self._model, self._base_bytes, self._lora_keys, request, self._folder, report
        )


def _backend() -> Literal["cpu", "metal", "cuda"]:
    if mx.default_device() == mx.cpu:
        return "cpu"
    return "metal" if mx.metal.is_available() else "cuda"

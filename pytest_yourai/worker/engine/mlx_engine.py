"""The engine of a worker, on MLX and mlx-lm."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import mlx.core as mx
from mlx import nn

from pytest_yourai.core.device import DeviceInfo, MlxMemory
from pytest_yourai.core.errors import ModelError
from pytest_yourai.models.source import Inspection, ModelSource
from pytest_yourai.worker.engine import dataset, device, training, trial, weights
from pytest_yourai.worker.engine.adapters import BaseModel
from pytest_yourai.worker.protocol import (
    Measurement,
    StepSample,
    TrainingEnd,
    TrainingEvent,
    TrainingRequest,
    TrialRequest,
)


class MlxEngine:
    """Holds one base model, runs trials on it, or trains it, in this process."""

    def __init__(self) -> None:
        self._model: nn.Module | None = None
        self._source: ModelSource | None = None
        self._base_bytes = 0
        self._lora_keys: tuple[str, ...] = ()
        self._folder: str | None = None
        self._read_data: tuple[str, dataset.TrainingRows] | None = None

    def device(self) -> DeviceInfo:
        return device.describe()

    def inspect(self, source: ModelSource, data: str | None) -> Inspection:
        found = weights.inspect(source)
        self._folder = source.folder
        rows = self._data(data)
        return found if rows is None else dataclasses.replace(found, data=rows.summary())

    def load(self, source: ModelSource) -> int:
        self._model = weights.load(source)
        self._lora_keys = weights.matching_lora_keys(self._model, source)
        self._folder = source.folder
        self._source = source
        self._base_bytes = mx.get_active_memory()
        return self._base_bytes

    def memory(self) -> MlxMemory:
        return MlxMemory(
            active_bytes=mx.get_active_memory(),
            peak_bytes=mx.get_peak_memory(),
            cache_bytes=mx.get_cache_memory(),
            device_used_bytes=device.device_used_bytes(),
        )

    def run_trial(self, request: TrialRequest, report: Callable[[StepSample], None]) -> Measurement:
        if self._model is None:
            raise ModelError("no model is loaded")
        data = self._data(request.data)
        return trial.run_trial(
            self._model, self._base_bytes, self._lora_keys, request, data, report
        )

    def train(
        self,
        request: TrainingRequest,
        report: Callable[[TrainingEvent], None],
        should_stop: Callable[[], bool],
    ) -> TrainingEnd:
        if self._model is None or self._source is None:
            raise ModelError("no model is loaded")
        if request.data is None:
            seed = request.parameters.seed
            rows = trial.synthetic_rows(self._model, request.config, seed)
            validation_rows: Any = []
        else:
            rows, validation_rows = dataset.read_sets(
                request.data, self._folder, mask_prompt=request.parameters.mask_prompt
            )
        source = self._source
        model = BaseModel(
            self._model,
            source.name,
            source.folder or source.name,
            _quantized_on_load(source),
            self._lora_keys,
        )
        # It keeps its adapters, so that no trial can follow.
        self._model = None
        return training.train_adapters(model, request, rows, validation_rows, report, should_stop)

    def _data(self, name: str | None) -> dataset.TrainingRows | None:
        """The training rows, read and tokenized once for all trials."""
        if name is None:
            return None
        if self._read_data is None or self._read_data[0] != name:
            self._read_data = name, dataset.read_data(name, self._folder)
        return self._read_data[1]


def _quantized_on_load(source: ModelSource) -> str | None:
    """Bits, or `none`; None where the weights come quantized."""
    if "quantization" in source.architecture:
        return None
    return str(source.quantization.bits) if source.quantization else "none"

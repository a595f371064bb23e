"""The engine of a worker, on MLX and mlx-lm."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import mlx.core as mx

from pytest_yourai.core.device import DeviceInfo, MlxMemory
from pytest_yourai.core.errors import ModelError
from pytest_yourai.models.dataset_lengths import padded_length
from pytest_yourai.models.source import (
    READ_BY_DEFAULT,
    Inspection,
    ModelSource,
    RowReading,
    Wanted,
)
from pytest_yourai.models.step_profile import StepProfile
from pytest_yourai.worker.engine import dataset, device, distributed, training, trial, weights
from pytest_yourai.worker.engine.adapted_modules import matching_lora_keys
from pytest_yourai.worker.engine.adapters import BaseModel
from pytest_yourai.worker.engine.examination import examine
from pytest_yourai.worker.engine.traced_step import trace_profiles
from pytest_yourai.worker.joining import Joined, JoinRequest
from pytest_yourai.worker.protocol import (
    Measurement,
    RowsRead,
    TrainingEnd,
    TrainingEvent,
    TrainingRequest,
    TrialEvent,
    TrialRequest,
)
from pytest_yourai.worker.turns import in_turns


class MlxEngine:
    """Holds one base model, runs trials on it, or trains it, in this process."""

    def __init__(self) -> None:
        self._model: BaseModel | None = None
        self._folder: str | None = None
        self._trusts_folder = False
        self._vocabulary: int | None = None
        self._read_data: tuple[tuple[str, RowReading], dataset.ReadData] | None = None

    def device(self) -> DeviceInfo:
        return device.describe()

    def inspect(
        self,
        source: ModelSource,
        data: str | None,
        reading: RowReading = READ_BY_DEFAULT,
        report: Callable[[RowsRead], None] = lambda _: None,
        wanted: Wanted | None = None,
    ) -> Inspection:
        model = weights.lazily(source)
        found = weights.inspect(source, model)
        if wanted is not None:
            found = examine(model, source, found, wanted)
        self._vocabulary = found.embedding_rows
        self._use_tokenizer_of(source)
        read = self._data(data, reading, report)
        if read is not None:
            found = dataclasses.replace(found, data=read.summary())
        if wanted is not None:
            base = BaseModel(model, source, found.lora_keys, 0)
            found = dataclasses.replace(found, steps=_traced(base, found, wanted))
        return found

    def load(self, source: ModelSource) -> int:
        module = weights.load(source)
        keys = matching_lora_keys(module, source)
        self._use_tokenizer_of(source)
        self._vocabulary = weights.embedding_rows(module)
        self._model = BaseModel(module, source, keys, mx.get_active_memory())
        return self._model.active_bytes

    def join(self, request: JoinRequest) -> Joined:
        return distributed.join(request)

    def memory(self) -> MlxMemory:
        return MlxMemory(
            active_bytes=mx.get_active_memory(),
            peak_bytes=mx.get_peak_memory(),
            cache_bytes=mx.get_cache_memory(),
            device_used_bytes=device.device_used_bytes(),
        )

    def run_trial(self, request: TrialRequest, report: Callable[[TrialEvent], None]) -> Measurement:
        read = self._data(request.data, request.reading)
        model, rows = self._loaded(), None if read is None else read.rows
        # A trial that fails may leave trained weights behind: no other is run on them.
        self._model = None
        with in_turns(request, report) as report_step:
            found = trial.run_trial(model, request, rows, report_step)
        self._model = model
        return found

    def train(
        self,
        request: TrainingRequest,
        report: Callable[[TrainingEvent], None],
        should_stop: Callable[[], bool],
    ) -> TrainingEnd:
        model, parameters = self._loaded(), request.parameters
        rows: Any
        validation_rows: Any
        reading = RowReading.of(request.recipe, request.config.max_seq_length, parameters.bad_rows)
        read = self._data(request.data, reading)
        if read is None:
            rows = trial.synthetic_rows(model.module, request.config, request.recipe.seed)
            validation_rows = []
        else:
            rows, validation_rows = read.rows.cached, read.validation
        # It keeps its adapters, so that no trial can follow.
        self._model = None
        run = training.TrainingRun(model, request, rows, validation_rows, report, should_stop)
        return run.train()

    def _use_tokenizer_of(self, source: ModelSource) -> None:
        self._folder, self._trusts_folder = source.folder, source.trust_remote_code

    def _loaded(self) -> BaseModel:
        if self._model is None:
            raise ModelError("no model is loaded: make it load one first")
        return self._model

    def _data(
        self,
        name: str | None,
        reading: RowReading,
        report: Callable[[RowsRead], None] = lambda _: None,
    ) -> dataset.ReadData | None:
        """The data, read and examined once for all trials and for training."""
        if name is None:
            return None
        if self._read_data is None or self._read_data[0] != (name, reading):
            read = dataset.read_data(
                name,
                self._folder,
                reading,
                self._vocabulary,
                report,
                trust_remote_code=self._trusts_folder,
            )
            self._read_data = (name, reading), read
        return self._read_data[1]


def _traced(base: BaseModel, found: Inspection, wanted: Wanted) -> dict[str, StepProfile]:
    """Profiles of the wanted steps with their longest batches."""
    lengths = wanted.max_seq_lengths
    if found.data is not None:
        longest = found.data.longest
        lengths = tuple(dict.fromkeys(padded_length(longest, each) for each in lengths))
    return trace_profiles(base, wanted.configs, lengths, wanted.recipe)

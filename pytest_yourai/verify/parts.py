"""What is run, part by part, each with a worker of its own."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from pytest_yourai.core.errors import WorkerError, YouraiError
from pytest_yourai.estimate.predictor import Predictor
from pytest_yourai.machine.budget import choose_budget
from pytest_yourai.machine.guard import Guard
from pytest_yourai.machine.system_footprint import read_system_footprint, tool_name
from pytest_yourai.models.source import Inspection, ModelSource, Wanted
from pytest_yourai.verify import judging
from pytest_yourai.verify.cases import Cases, Predicted
from pytest_yourai.verify.document import Line
from pytest_yourai.verify.judging import Check
from pytest_yourai.verify.limited_training import limit_for, train_under
from pytest_yourai.verify.measuring import (
    RECIPE,
    ReadingGuard,
    ReadSystem,
    Trial,
    alone,
    beside_stock,
    new_host,
)
from pytest_yourai.worker.host import WorkerHost

_STEPS = 5
"""Measured steps of a trial alone."""


class Parts:
    """What is run, part by part; a part that breaks off fails its lines, and no others.

    Constructing it asks a worker for the device: InputError where none can run.
    """

    def __init__(
        self, chosen: Cases, folder: Path, read_system: ReadSystem = read_system_footprint
    ) -> None:
        self._config, self._pairs = chosen.config, chosen.pairs
        self._folder, self._read_system = folder, read_system
        self._dense, *self._others = chosen.models
        self._trial: Trial | None = None
        self._wanted = Wanted.of([self._config], RECIPE)
        self._host = new_host(self._source(self._dense))
        try:
            self.device, self._inspection = self._host.inspect(None, wanted=self._wanted)
            self._budget = choose_budget(None, self.device)
        except BaseException:
            self._host.end()
            raise

    def lines(self) -> Iterator[Line]:
        """All lines but that of the conditions."""
        yield from judged([_prediction(self._dense)], self.first)
        yield from judged([judging.REPEAT, judging.FOOTPRINT], self.again)
        yield from judged([judging.LIMIT], self.limited)
        yield from judged([judging.STEP_TIME, judging.PEAK], self.beside_stock)
        for each in self._others:
            yield from judged([_prediction(each)], functools.partial(self.other, each))

    def close(self) -> None:
        self._host.end()

    def first(self) -> list[Line]:
        """The first trial of the dense model, predicted before."""
        line, self._trial = self._predict_and_measure(self._dense, self._host, self._inspection)
        return [line]

    def other(self, model: Predicted) -> list[Line]:
        """A trial of another model, predicted before."""
        host = new_host(self._source(model))
        try:
            _, inspection = host.inspect(None, wanted=self._wanted)
            line, _ = self._predict_and_measure(model, host, inspection)
        finally:
            host.end()
        return [line]

    def _predict_and_measure(
        self, model: Predicted, host: WorkerHost, inspection: Inspection
    ) -> tuple[Line, Trial]:
        """Ends the worker: the next part has its own."""
        predicted = self._predicted(self._source(model), inspection)
        try:
            trial = alone(host, self._config, _STEPS, self._guard())
        finally:
            host.end()
        line = judging.prediction(
            _prediction(model),
            predicted,
            (trial.minimum_bytes, max(trial.peaks_bytes)),
            self.device.backend,
        )
        return line, trial

    def again(self) -> list[Line]:
        """The first trial again, whose guard is compared with the system."""
        guard = ReadingGuard(self._budget.limit_bytes, self._read_system)
        host = new_host(self._source(self._dense))
        try:
            again = alone(host, self._config, _STEPS, guard)
        finally:
            host.end()
        tool = tool_name(has_own_memory=self.device.has_own_memory)
        first_bytes, backend = self._needed().minimum_bytes, self.device.backend
        return [
            judging.repeats(first_bytes, again.minimum_bytes, backend),
            judging.footprint(guard.readings, tool, backend),
        ]

    def limited(self) -> list[Line]:
        """Training of the dense model, in the least budget in which it fits."""
        needed = self._needed()
        limit_bytes, adapters = limit_for(needed.minimum_bytes), self._folder / "adapters"
        peaks = train_under(limit_bytes, self._source(self._dense), self._config, adapters)
        return [judging.limit(limit_bytes, peaks, max(needed.peaks_bytes))]

    def beside_stock(self) -> list[Line]:
        """A trial of the dense model, from a folder, beside mlx_lm.lora."""
        folder = self._folder / "beside"
        folder.mkdir()
        architecture = self._dense.architecture
        ours, theirs = beside_stock(folder, architecture, self._config, self._pairs, self._guard())
        return [
            judging.step_time(ours.step_times_s, theirs.step_times_s),
            judging.peak(ours.peaks_bytes, theirs.peaks_bytes),
        ]

    def _predicted(self, source: ModelSource, found: Inspection) -> tuple[int, int | None] | None:
        """Minimum and peak, as a sweep predicts them before its first trial; None if it cannot."""
        predictor = Predictor(
            source,
            self.device.backend,
            self.device.name,
            inspected=found.sizes,
            steps=found.steps,
            recipe=RECIPE,
        )
        prediction = predictor.predict(self._config)
        if prediction is None:
            return None
        takes_bytes = prediction.peak_bytes_within(self._budget.limit_bytes)
        return prediction.minimum_bytes, takes_bytes if prediction.ahead_bytes else None

    def _needed(self) -> Trial:
        if self._trial is None:
            raise WorkerError("the first trial, with which this is compared, did not end")
        return self._trial

    def _guard(self) -> Guard:
        return Guard(self._budget.limit_bytes, forced=False)

    def _source(self, model: Predicted) -> ModelSource:
        keys = (self._config.lora_keys,)
        return ModelSource(model.kind, model.architecture, None, True, None, keys)


def judged(checks: Sequence[Check], part: Callable[[], list[Line]]) -> list[Line]:
    """The lines of a part: where it breaks off, it fails all its checks."""
    try:
        return part()
    except YouraiError as problem:
        return [each.broken_off(str(problem)) for each in checks]


def _prediction(model: Predicted) -> Check:
    return judging.prediction_check(model.kind, model.title)

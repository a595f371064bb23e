"""Runs everything, and judges it line by line."""

from __future__ import annotations

import contextlib
import functools
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from pytest_yourai.core.device import DeviceInfo
from pytest_yourai.core.errors import WorkerError, YouraiError
from pytest_yourai.estimate.predictor import Predictor
from pytest_yourai.machine import environment
from pytest_yourai.machine.budget import choose_budget
from pytest_yourai.machine.guard import Guard
from pytest_yourai.machine.power import read_power
from pytest_yourai.machine.sleep import asleep_s
from pytest_yourai.machine.system_footprint import tool_name
from pytest_yourai.models.source import Inspection, ModelSource
from pytest_yourai.store.profile import created_at
from pytest_yourai.verify import judging
from pytest_yourai.verify.cases import Cases, Predicted, cases
from pytest_yourai.verify.document import Line, Verification
from pytest_yourai.verify.judging import Check, Conditions
from pytest_yourai.verify.limited_training import limit_for, train_under
from pytest_yourai.verify.measuring import (
    ReadingGuard,
    Trial,
    alone,
    beside_stock,
    new_host,
)
from pytest_yourai.worker.host import WorkerHost

_STEPS = 5
"""Measured steps of a trial alone."""

OnLine = Callable[[Line], None]


def verify(on_device: Callable[[DeviceInfo], None], on_line: OnLine) -> Verification:
    """Run everything; `on_line` gets each verdict as soon as it is known.

    InputError where nothing can run here.
    """
    began, slept_s = time.monotonic(), asleep_s()
    awake = environment.keep_awake()
    judged: list[Line] = []
    try:
        with tempfile.TemporaryDirectory(prefix="yourai-verify-") as name:
            parts = _Parts(cases(environment.installed_backend()), Path(name))
            with contextlib.closing(parts):
                on_device(parts.device)
                for line in parts.lines():
                    on_line(line)
                    judged.append(line)
    finally:
        if awake is not None:
            awake.terminate()
            awake.wait()
    judged.append(judging.conditions(_conditions(slept_s)))
    on_line(judged[-1])
    return Verification(
        created_at=created_at(),
        took_s=round(time.monotonic() - began, 1),
        environment=environment.describe(parts.device),
        lines=tuple(judged),
    )


def _conditions(slept_before_s: float | None) -> Conditions:
    """What the machine did since it had slept for so long."""
    slept_s, power = asleep_s(), read_power()
    hindrances, remarks = [], []
    if power.low_power_mode:
        hindrances.append("low power mode slows it down: switch it off")
    if power.is_throttled:
        hindrances.append("heat slows it down: let it cool")
    if power.source is not None:
        remarks.append(f"on {power.source}")
    if power.thermal is not None:
        remarks.append(f"thermal state {power.thermal}")
    if slept_s is None or slept_before_s is None:
        return Conditions(None, hindrances, remarks)
    return Conditions(max(0.0, slept_s - slept_before_s), hindrances, remarks)


class _Parts:
    """What is run, part by part; a part that breaks off fails its lines, and no others.

    Constructing it asks a worker for the device: InputError where none can run.
    """

    def __init__(self, chosen: Cases, folder: Path) -> None:
        self._config, self._pairs = chosen.config, chosen.pairs
        self._folder = folder
        self._dense, *self._others = chosen.models
        self._host = new_host(self._source(self._dense))
        self._trial: Trial | None = None
        try:
            self.device, self._inspection = self._host.inspect(None)
            self._budget = choose_budget(None, self.device)
        except BaseException:
            self._host.end()
            raise

    def lines(self) -> Iterator[Line]:
        """All lines but that of the conditions."""
        yield from _judged([_prediction(self._dense)], self._first)
        yield from _judged([judging.REPEAT, judging.FOOTPRINT], self._again)
        yield from _judged([judging.LIMIT], self._limited)
        yield from _judged([judging.STEP_TIME, judging.PEAK], self._beside_stock)
        for each in self._others:
            yield from _judged([_prediction(each)], functools.partial(self._other, each))

    def close(self) -> None:
        self._host.end()

    def _first(self) -> list[Line]:
        line, self._trial = self._predict_and_measure(self._dense, self._host, self._inspection)
        return [line]

    def _other(self, model: Predicted) -> list[Line]:
        host = new_host(self._source(model))
        try:
            _, inspection = host.inspect(None)
            line, _ = self._predict_and_measure(model, host, inspection)
        finally:
            host.end()
        return [line]

    def _predict_and_measure(
        self, model: Predicted, host: WorkerHost, inspection: Inspection
    ) -> tuple[Line, Trial]:
        """Ends the worker: the next part has its own."""
        device, source = self.device, self._source(model)
        predictor = Predictor(source, device.backend, device.name, inspection.sizes)
        predicted = predictor.predict(self._config)
        try:
            trial = alone(host, self._config, _STEPS, self._guard())
        finally:
            host.end()
        line = judging.prediction(
            _prediction(model),
            predicted.minimum_bytes if predicted else None,
            trial.minimum_bytes,
            max(trial.peaks_bytes),
            device.backend,
        )
        return line, trial

    def _again(self) -> list[Line]:
        guard, host = ReadingGuard(self._budget.limit_bytes), new_host(self._source(self._dense))
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

    def _limited(self) -> list[Line]:
        needed = self._needed()
        limit_bytes, adapters = limit_for(needed.minimum_bytes), self._folder / "adapters"
        peaks = train_under(limit_bytes, self._source(self._dense), self._config, adapters)
        return [judging.limit(limit_bytes, peaks, max(needed.peaks_bytes))]

    def _beside_stock(self) -> list[Line]:
        folder = self._folder / "beside"
        folder.mkdir()
        architecture = self._dense.architecture
        ours, theirs = beside_stock(folder, architecture, self._config, self._pairs, self._guard())
        return [
            judging.step_time(ours.step_times_s, theirs.step_times_s),
            judging.peak(ours.peaks_bytes, theirs.peaks_bytes),
        ]

    def _needed(self) -> Trial:
        if self._trial is None:
            raise WorkerError("the first trial, with which this is compared, did not end")
        return self._trial

    def _guard(self) -> Guard:
        return Guard(self._budget.limit_bytes, forced=False)

    def _source(self, model: Predicted) -> ModelSource:
        keys = (self._config.lora_keys,)
        return ModelSource(model.kind, model.architecture, None, True, None, keys)


def _judged(checks: Sequence[Check], part: Callable[[], list[Line]]) -> list[Line]:
    """The lines of a part: where it breaks off, it fails all its checks."""
    try:
        return part()
    except YouraiError as problem:
        return [each.broken_off(str(problem)) for each in checks]


def _prediction(model: Predicted) -> Check:
    return judging.prediction_check(model.kind, model.title)

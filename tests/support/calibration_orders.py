"""Models of different kinds, one after the other on one machine, from recorded measurements."""

from __future__ import annotations

import functools
import json
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pydantic

from pytest_yourai.core.config import LoraConfig
from pytest_yourai.core.outcomes import Outcome
from pytest_yourai.core.results import TrialResult
from pytest_yourai.estimate.calibration import Calibration
from pytest_yourai.estimate.earlier_runs import (
    EarlierRuns,
    earlier_runs,
    identity_of_shapes,
    kind_of_model,
)
from pytest_yourai.estimate.predictor import Predictor
from pytest_yourai.models.architecture import InspectedShapes
from pytest_yourai.models.source import ModelSource

FILE = Path(__file__).parents[1] / "data" / "calibration_pairs.json"

MOST_TIMES, MOST_POINTS = 1.2, 0.005
"""How much worse than with a clean cache the error of a model may be: times, and added to that."""


@dataclass(frozen=True)
class MeasuredModel:
    """A model as the worker builds it, and its minima in bytes, in the order of the trials."""

    architecture: dict[str, object]
    inspected: InspectedShapes
    configs: tuple[LoraConfig, ...]
    minima: tuple[int, ...]

    @functools.cached_property
    def source(self) -> ModelSource:
        return ModelSource("m", self.architecture, None, True, None, ("qkvo",))

    def results(self) -> Iterator[TrialResult]:
        for config, minimum_bytes in zip(self.configs, self.minima, strict=True):
            yield TrialResult("m", config, Outcome.OK, minimum_memory_bytes=minimum_bytes)


_MODELS = pydantic.TypeAdapter(dict[str, MeasuredModel])


@functools.cache
def read_models() -> dict[str, MeasuredModel]:
    return _MODELS.validate_python(json.loads(FILE.read_text(encoding="utf-8")))


def write_models(models: dict[str, MeasuredModel]) -> None:
    lines = _MODELS.dump_python(models, mode="json")
    text = ",\n".join(f' "{name}": {json.dumps(each)}' for name, each in lines.items())
    FILE.write_text(f"{{\n{text}\n}}\n", encoding="utf-8")


@dataclass(frozen=True)
class RunErrors:
    """Relative errors of the predictions of one run."""

    errors: tuple[float, ...]

    @property
    def mean(self) -> float:
        return statistics.fmean(self.errors)

    @property
    def largest(self) -> float:
        return max(self.errors)

    def excess(self, clean: RunErrors) -> float:
        """By how much the mean error is more than what is allowed; negative within that."""
        return self.mean - MOST_TIMES * clean.mean - MOST_POINTS


class Machine:
    """What runs teach, as the cache keeps it. With `one_kind` it takes all models for alike."""

    def __init__(self, *, one_kind: bool = False) -> None:
        self._one_kind = one_kind
        self._lessons: dict[str, dict[str, dict[str, Calibration]]] = {}

    def run(self, name: str) -> RunErrors:
        """All trials of a model, each predicted before it is learned."""
        source = read_models()[name].source
        group = "" if self._one_kind else kind_of_model(source, "cpu")
        lessons = self._lessons.setdefault(group, {})
        identity = identity_of_shapes(source)
        earlier = earlier_runs(lessons, identity)
        own = tuple((kind, EarlierRuns(earlier[kind].own)) for kind in sorted(earlier))
        errors = _run(name, tuple((kind, earlier[kind]) for kind in sorted(earlier)))
        for recipe, calibration in _learned(name, own).items():
            lessons.setdefault(recipe, {})[identity] = calibration
        return errors


@functools.cache
def _run(name: str, earlier: tuple[tuple[str, EarlierRuns], ...]) -> RunErrors:
    """Errors of a run, kept for the other orders in which as much was known before it."""
    model = read_models()[name]
    predictor = Predictor(
        model.source, "cpu", inspected={"qkvo": model.inspected}, earlier=dict(earlier)
    )
    errors = []
    for result in model.results():
        prediction = predictor.predict(result.config)
        assert prediction is not None
        assert result.minimum_memory_bytes is not None
        errors.append(abs(prediction.minimum_bytes / result.minimum_memory_bytes - 1))
        predictor.learn(result)
    return RunErrors(tuple(errors))


@functools.cache
def _learned(name: str, earlier: tuple[tuple[str, EarlierRuns], ...]) -> dict[str, Calibration]:
    """What a run leaves in the cache, after earlier ones of the model itself."""
    model = read_models()[name]
    predictor = Predictor(
        model.source, "cpu", inspected={"qkvo": model.inspected}, earlier=dict(earlier)
    )
    for result in model.results():
        predictor.learn(result)
    return predictor.learned


def run_in_order(
    order: Sequence[str], *, one_kind: bool = False
) -> Iterator[tuple[str, RunErrors]]:
    """The name and the errors of each run, with one cache."""
    machine = Machine(one_kind=one_kind)
    for name in order:
        yield name, machine.run(name)

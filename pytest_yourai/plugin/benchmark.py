"""Gives the worker's step times to pytest-benchmark, through its public API."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest

from pytest_yourai.core.errors import YouraiError
from pytest_yourai.core.results import TrialResult
from pytest_yourai.store.config_rows import configuration

BENCHMARK: pytest.StashKey[Any] = pytest.StashKey()
"""The value of the fixture of an item: an interruption takes it from `funcargs`."""


class NoStepTimesError(YouraiError):
    """A trial ended before it measured a step."""


class ReplayClock:
    """A timer that pytest-benchmark reads: each second reading is one recorded step later."""

    def __init__(self) -> None:
        self._readings: Iterator[float] = iter(())

    def record(self, step_times_s: tuple[float, ...]) -> None:
        # Every step starts at 0: a running sum would round the differences.
        self._readings = itertools.chain.from_iterable((0.0, each) for each in step_times_s)

    def __call__(self) -> float:
        return next(self._readings, 0.0)


def feed_benchmark(item: pytest.Item, result: TrialResult | None) -> None:
    """Give the worker's step times to pytest-benchmark, through its public API.

    Where there are none, a function that raises is benchmarked: pytest-benchmark then leaves the
    item out, and does not warn that its fixture was not used.
    """
    benchmark = item.stash.get(BENCHMARK, None)
    mark = item.get_closest_marker("benchmark")
    clock = mark.kwargs.get("timer") if mark else None
    if benchmark is None or not isinstance(clock, ReplayClock):
        return
    if result is not None and result.success:
        benchmark.group = result.model
        benchmark.extra_info.update(_extra_info(result))
        clock.record(result.step_times_s)
        # The worker has timed the steps.
        benchmark.pedantic(lambda: None, rounds=len(result.step_times_s))
    else:
        with suppress(NoStepTimesError):
            benchmark.pedantic(_fail)


def _extra_info(result: TrialResult) -> dict[str, Any]:
    return {
        "model": result.model,
        **configuration(result.config),
        "minimum_memory_bytes": result.minimum_memory_bytes,
        "peak_memory_bytes": result.peak_memory_bytes,
        "tokens_per_second": result.tokens_per_second,
        "throughput_score": result.config.throughput_score,
        "kept": result.kept,
    }


def _fail() -> None:
    raise NoStepTimesError

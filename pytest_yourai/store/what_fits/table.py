"""The table of what fits where: its cells, from measurements of each machine and its like."""

from __future__ import annotations

import enum
import statistics
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pytest_yourai.core.config import SAFETY_MARGIN, LoraConfig, Objective
from pytest_yourai.store.what_fits.machine import Machine, same_machines
from pytest_yourai.store.what_fits.measured import Measured, Sample, Training

_BUDGET_SHARE = 0.8
"""Of a machine's memory, where no profile of it has a budget: the default of a sweep."""


class Mark(enum.StrEnum):
    """How a cell is known."""

    MEASURED = "measured"
    """On this machine."""
    CARRIED_OVER = "carried_over"
    """By minimum memory on another machine with the same backend and MLX."""
    DOES_NOT_FIT = "does_not_fit"
    """Nothing that was tried on this machine."""
    WOULD_NOT_FIT = "would_not_fit"
    """Nothing whose minimum memory was measured on another machine."""


@dataclass(frozen=True, slots=True)
class Fit:
    """A cell: the best configuration that fits, None where none does. Bytes.

    `needs_bytes` is the largest of `runs` measurements, the least of those that do not fit;
    `tokens_per_second` their median, None where it was not measured here. `spread` is the range of
    the speeds over their median: 0.02 is 2 %; None for one run. `limit_bytes` is the budget that it
    was held against.
    """

    mark: Mark
    config: LoraConfig | None
    needs_bytes: int | None
    tokens_per_second: float | None
    runs: int
    spread: float | None
    limit_bytes: int | None
    measured_on: Machine
    """This machine, or the other one."""


@dataclass(frozen=True)
class FitsTable:
    """Machines, trainings from small to large, and the cells that are known."""

    machines: tuple[Machine, ...]
    trainings: tuple[Training, ...]
    cells: Mapping[tuple[Machine, Training], Fit]

    @classmethod
    def of(cls, profiles: Iterable[Measured], objective: Objective = Objective.SCORE) -> FitsTable:
        """The table of `profiles`; `objective` says which of the measured configurations is best.

        Where none was measured the score does, since speed is not carried over.
        """
        profiles = list(profiles)
        counts_as = same_machines(each.machine for each in profiles)
        samples: _Samples = defaultdict(lambda: defaultdict(list))
        limits: dict[Machine, int] = {}
        for profile in profiles:
            machine = counts_as[profile.machine]
            for training, sample in profile.samples:
                samples[training][machine].append(sample)
            if profile.limit_bytes:
                limits[machine] = max(limits.get(machine, 0), profile.limit_bytes)
        machines = sorted(set(counts_as.values()), key=lambda each: each.order)
        for each in machines:
            if each not in limits and each.memory_bytes:
                limits[each] = round(each.memory_bytes * _BUDGET_SHARE)
        cells: dict[tuple[Machine, Training], Fit] = {}
        for training, of_training in samples.items():
            for machine, fit in _fits(of_training, machines, limits, objective):
                cells[machine, training] = fit
        trainings = tuple(sorted(samples, key=_order(samples)))
        return cls(tuple(machines), trainings, cells)

    def rows(self) -> Iterator[tuple[Machine, Training, Fit]]:
        """The cells that are known, by machine."""
        for machine in self.machines:
            for training in self.trainings:
                fit = self.cells.get((machine, training))
                if fit is not None:
                    yield machine, training, fit


_Samples = defaultdict[Training, defaultdict[Machine, list[Sample]]]


@dataclass(frozen=True, slots=True)
class _Tried:
    """All measurements of one configuration on one machine."""

    config: LoraConfig
    samples: tuple[Sample, ...]

    @property
    def ok(self) -> list[Sample]:
        return [each for each in self.samples if each.fits]

    @property
    def fits(self) -> bool:
        """True if it fitted more often than it failed with no smaller budget."""
        least = min((each.limit_bytes or 0 for each in self.ok), default=0)
        failed = [each for each in self.samples if not each.fits]
        contrary = sum((each.limit_bytes or 0) >= least for each in failed)
        return len(self.ok) > contrary

    @property
    def needs_bytes(self) -> int | None:
        """The most that was measured; None where it failed before."""
        return max((each.needs_bytes for each in self.samples if each.needs_bytes), default=None)

    @property
    def speeds(self) -> list[float]:
        return [each.tokens_per_second for each in self.ok if each.tokens_per_second]

    @property
    def speed(self) -> float | None:
        return statistics.median(self.speeds) if self.speeds else None

    @property
    def spread(self) -> float | None:
        if len(self.speeds) < 2:  # noqa: PLR2004 - two have a range
            return None
        return (max(self.speeds) - min(self.speeds)) / statistics.median(self.speeds)


def _tried(samples: Iterable[Sample]) -> list[_Tried]:
    by_config: defaultdict[LoraConfig, list[Sample]] = defaultdict(list)
    for each in samples:
        by_config[each.config].append(each)
    return [_Tried(config, tuple(found)) for config, found in by_config.items()]


def _fits(
    samples: Mapping[Machine, Sequence[Sample]],
    machines: Sequence[Machine],
    limits: Mapping[Machine, int],
    objective: Objective,
) -> Iterator[tuple[Machine, Fit]]:
    """The cells of one training."""
    tried = {machine: _tried(found) for machine, found in samples.items()}
    known = [(machine, each) for machine, found in tried.items() for each in found]
    for machine in machines:
        if machine in tried:
            yield machine, _measured(machine, tried[machine], objective)
        elif machine.measures_like is not None and machine in limits:
            alike = [pair for pair in known if pair[0].measures_like == machine.measures_like]
            if (fit := _carried_over(alike, limits[machine])) is not None:
                yield machine, fit


def _measured(machine: Machine, tried: Iterable[_Tried], objective: Objective) -> Fit:
    fitting = [each for each in tried if each.fits]
    if not fitting:
        return _none_fits(machine, tried)
    best = max(fitting, key=lambda each: _rank(each, objective))
    return Fit(
        mark=Mark.MEASURED,
        config=best.config,
        needs_bytes=best.needs_bytes,
        tokens_per_second=best.speed,
        runs=len(best.ok),
        spread=best.spread,
        limit_bytes=max((each.limit_bytes or 0 for each in best.ok), default=0) or None,
        measured_on=machine,
    )


def _none_fits(machine: Machine, tried: Iterable[_Tried]) -> Fit:
    samples = [each for found in tried for each in found.samples]
    return Fit(
        mark=Mark.DOES_NOT_FIT,
        config=None,
        needs_bytes=min((each.needs_bytes for each in samples if each.needs_bytes), default=None),
        tokens_per_second=None,
        runs=len(samples),
        spread=None,
        limit_bytes=max((each.limit_bytes or 0 for each in samples), default=0) or None,
        measured_on=machine,
    )


def _carried_over(known: Sequence[tuple[Machine, _Tried]], limit_bytes: int) -> Fit | None:
    """The largest configuration whose minimum with its margin is within the budget.

    None where no minimum was measured.
    """
    needs = [(machine, each, each.needs_bytes) for machine, each in known if each.needs_bytes]
    if not needs:
        return None
    within = [each for each in needs if each[2] * SAFETY_MARGIN <= limit_bytes]
    if within:
        machine, best, least = max(within, key=lambda each: _rank(each[1], Objective.SCORE))
    else:
        machine, best, least = min(needs, key=lambda each: each[2])
    return Fit(
        mark=Mark.CARRIED_OVER if within else Mark.WOULD_NOT_FIT,
        config=best.config if within else None,
        needs_bytes=least,
        tokens_per_second=None,
        runs=len(best.samples),
        spread=None,
        limit_bytes=limit_bytes,
        measured_on=machine,
    )


def _rank(tried: _Tried, objective: Objective) -> tuple[float, ...]:
    """As `core.ranking` orders results, for several measurements of each."""
    score, speed = float(tried.config.throughput_score), tried.speed or 0.0
    first = (score, speed) if objective is Objective.SCORE else (speed, score)
    return (*first, -float(tried.needs_bytes or 0))


def _order(samples: _Samples) -> Any:
    """Key by which trainings are listed: models from small to large, by the least they need."""
    least: dict[str, float] = {}
    for training, of_training in samples.items():
        needs = [
            float(each.needs_bytes)
            for found in of_training.values()
            for each in found
            if each.needs_bytes
        ]
        least[training.model] = min([least.get(training.model, float("inf")), *needs])
    return lambda each: (
        least[each.model],
        each.model,
        each.quantization,
        each.max_seq_length,
        each.recipe_text,
    )

"""Time of a training step by the padded length of its batch, fitted to measured steps.

A step of a batch that is padded to w tokens, so that it has p = batch size × (w - 1) positions,
takes a + b p + c p (w - 1) seconds: what every step costs, what each position costs, and what the
attention between positions costs. None of the three is negative. They are fitted to the median
times of the measured cycles and of those of the survey, by least squares of relative errors.
"""

from __future__ import annotations

import itertools
import statistics
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pytest_yourai.core.config import LoraConfig
from pytest_yourai.core.cycles import rounded_up, whole_cycles
from pytest_yourai.core.results import TrialResult
from pytest_yourai.models.dataset_lengths import TrainingData

_PARTS = 3


@dataclass(frozen=True, slots=True)
class StepTimes:
    """Times of steps by padded length; `costs` are a, b and c, in seconds."""

    batch_size: int
    costs: tuple[float, float, float]

    def of_all(self, widths: Iterable[int]) -> float:
        """Seconds of steps of these padded lengths."""
        parts = _parts(self.batch_size, widths)
        return sum(cost * part for cost, part in zip(self.costs, parts, strict=True))


def step_times(data: TrainingData, result: TrialResult) -> StepTimes | None:
    """Fitted to the measured steps of a trial with `data`; None where there are none."""
    config, accumulation = result.config, result.config.grad_accumulation_steps
    found: defaultdict[tuple[int, ...], list[float]] = defaultdict(list)
    measured, surveyed = result.step_times_s, result.survey_step_times_s
    of_survey = surveyed_widths(data, config, len(measured))
    for widths, times_s in (
        (measured_widths(data, config, len(measured)), measured),
        (list(itertools.islice(itertools.cycle(of_survey), len(surveyed))), surveyed),
    ):
        for cycle, seconds in zip(
            whole_cycles(widths, accumulation), whole_cycles(times_s, accumulation), strict=False
        ):
            found[tuple(cycle)].append(sum(seconds))
    if not found:
        return None
    parts = [_parts(config.batch_size, cycle) for cycle in found]
    costs = _fitted(parts, [statistics.median(each) for each in found.values()])
    return StepTimes(config.batch_size, costs)


def measured_widths(data: TrainingData, config: LoraConfig, steps: int) -> list[int]:
    """Padded lengths of the measured steps: of the longest batches, again and again."""
    longest = data.longest_widths(config.batch_size, config.max_seq_length)[:steps]
    return list(itertools.islice(itertools.cycle(longest), steps))


def surveyed_widths(data: TrainingData, config: LoraConfig, measured: int) -> list[int]:
    """Padded lengths of the survey after so many measured steps, once, in whole cycles."""
    widths = data.widths(config.batch_size, config.max_seq_length)
    places = data.surveyed(config.batch_size, config.max_seq_length, measured)
    once = rounded_up(len(places), config.grad_accumulation_steps)
    return [widths[place] for place in itertools.islice(itertools.cycle(places), once)]


def longest_step_s(data: TrainingData, result: TrialResult) -> float | None:
    """Median seconds of the measured steps of the longest batches; None without any."""
    times_s = result.step_times_s
    widths = measured_widths(data, result.config, len(times_s))
    longest = [each for each, width in zip(times_s, widths, strict=False) if width == widths[0]]
    return statistics.median(longest) if longest else None


def epoch_time_s(data: TrainingData, result: TrialResult) -> float | None:
    """Seconds of an epoch of `data`, without compiling and validation; None without steps."""
    times = step_times(data, result)
    config = result.config
    if times is None:
        return None
    return times.of_all(data.widths(config.batch_size, config.max_seq_length))


def _parts(batch_size: int, widths: Iterable[int]) -> tuple[float, float, float]:
    """The number of steps, of positions, and of positions times theirs in a row."""
    lengths = [width - 1 for width in widths]
    return (
        float(len(lengths)),
        float(batch_size * sum(lengths)),
        float(batch_size * sum(length * length for length in lengths)),
    )


def _fitted(
    parts: Sequence[tuple[float, float, float]], times_s: Sequence[float]
) -> tuple[float, float, float]:
    """The costs that are not negative and have the least relative errors.

    Of few kinds of cycles fewer costs are fitted: of one, that of a position.
    """
    import numpy as np  # noqa: PLC0415 - recommendations start faster without

    matrix = np.array(parts) / np.array(times_s)[:, None]
    best, least = (0.0, 0.0, 0.0), np.inf
    for count in range(1, min(_PARTS, len(parts)) + 1):
        for chosen in itertools.combinations((1, 0, 2), count):
            columns = list(chosen)
            costs, *_ = np.linalg.lstsq(matrix[:, columns], np.ones(len(parts)), rcond=None)
            error = float(np.sum((matrix[:, columns] @ costs - 1) ** 2))
            if (costs >= 0).all() and error < least * (1 - 1e-9):
                found = np.zeros(_PARTS)
                found[columns] = costs
                best, least = (float(found[0]), float(found[1]), float(found[2])), error
    return best

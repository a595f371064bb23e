"""The rows of profiles as cells of text: the columns of every table that people read."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

from pytest_yourai.core import ranking
from pytest_yourai.core.axes import (
    GRAD_CHECKPOINT,
    NO_VALUE,
    SIZES,
    Axis,
)
from pytest_yourai.core.config import LoraConfig
from pytest_yourai.core.labels import ConfigLabels
from pytest_yourai.core.noise import noise_line, noise_of
from pytest_yourai.core.results import TrialResult
from pytest_yourai.core.units import gigabytes, seconds
from pytest_yourai.store.stored_profile import StoredProfile

NOTHING = NO_VALUE
"""Text of a cell without a measurement."""


class Column(NamedTuple):
    """A column: `cell` gives the text for a result; numbers are aligned right."""

    heading: str
    cell: Callable[[TrialResult], str]
    is_number: bool = True


def ranked_rows(profile: StoredProfile) -> list[TrialResult]:
    """All results: the optimum, the others that fit, what failed, and what was not run."""
    results = list(profile.results.values())
    failed = [each for each in results if not each.success]
    first = [profile.optimum] if profile.optimum is not None else []
    return [
        *first,
        *(each for each in ranking.best_first(results, profile.objective) if each not in first),
        *(each for each in failed if each.started),
        *(each for each in failed if not each.started),
    ]


def columns(profiles: Sequence[StoredProfile]) -> list[Column]:
    """The columns for the rows of `profiles`.

    An axis of length or checkpointing with one value is left out, and so are minima if all are
    peaks.
    """
    naming = ConfigLabels.of(config for profile in profiles for config in profile.results)
    return [
        *axis_columns(naming),
        *([NEEDS] if any(each.has_minima for each in profiles) else []),
        TAKES,
        *time_columns(config for profile in profiles for config in profile.results),
        SPEED,
        *noise_columns(result for profile in profiles for result in profile.results.values()),
        Column("score", lambda each: f"{each.config.throughput_score:,}"),
        Column("outcome", outcome, is_number=False),
    ]


def label(profile: StoredProfile, profiles: Sequence[StoredProfile]) -> str:
    """Its model, and its file if `profiles` come from several."""
    if len({each.name for each in profiles}) == 1:
        return profile.model
    return f"{profile.model} ({profile.name})"


def aligned(profiles: Sequence[StoredProfile]) -> Iterator[str]:
    """A text table with a star before each optimum, and a model column for several profiles."""
    shown = columns(profiles)
    names = ["model"] if len(profiles) > 1 else []
    lines = [["", *names, *(column.heading for column in shown)]]
    for profile in profiles:
        own = [label(profile, profiles)] if names else []
        for result in ranked_rows(profile):
            star = "*" if result is profile.optimum else ""
            lines.append([star, *own, *(column.cell(result) for column in shown)])
    is_number = [False, *(False for _ in names), *(column.is_number for column in shown)]
    yield from text_table(lines, is_number)
    for profile in profiles:
        own_name = f"{label(profile, profiles)}: " if names else ""
        for note in noise_notes(list(profile.results.values())):
            yield f"{own_name}{note}"


def axis_columns(naming: ConfigLabels, checkpoint: str = "checkpoint") -> Iterator[Column]:
    """The axes of the matrix; `checkpoint` is the heading of gradient checkpointing."""
    for axis in (*SIZES, *naming.varying):
        heading = checkpoint if axis is GRAD_CHECKPOINT else axis.label
        yield Column(heading, functools.partial(_axis_text, axis))


def _axis_text(axis: Axis, result: TrialResult) -> str:
    return axis.text(result.config)


def outcome(result: TrialResult) -> str:
    """The outcome, its error and warnings, in one line."""
    ending = result.outcome.value if result.success else f"{result.outcome}: {result.error}"
    return "; ".join((ending, *result.warnings))


def _or_nothing(value: float | None, shown: Callable[[float], str]) -> str:
    return NOTHING if value is None else shown(value)


NEEDS = Column("needs", lambda each: _or_nothing(each.minimum_memory_bytes, gigabytes))

TAKES = Column("takes", lambda each: _or_nothing(each.peak_memory_bytes, gigabytes))

_STEP_TIME = Column("step", lambda each: _or_nothing(each.step_time_s, seconds))

_UPDATE_TIME = Column("update", lambda each: _or_nothing(each.update_time_s, seconds))


def time_columns(configs: Iterable[LoraConfig], step: str = "step") -> Iterator[Column]:
    """The time for a step, headed `step`, and for an update where one takes several steps."""
    yield _STEP_TIME._replace(heading=step)
    if any(config.grad_accumulation_steps > 1 for config in configs):
        yield _UPDATE_TIME


SPEED = Column("tokens/s", lambda each: _or_nothing(each.tokens_per_second, "{:,.0f}".format))


def _noise(result: TrialResult) -> str:
    found = noise_of(result)
    return NOTHING if found is None else str(found).removeprefix("± ")


def noise_columns(results: Iterable[TrialResult]) -> Iterator[Column]:
    """The spread of the steps, with an exclamation mark where single steps stand out.

    Nothing where no trial has enough steps.
    """
    if any(noise_of(each) for each in results):
        yield Column("±", _noise)


OUTLIERS = "! some steps took far longer or shorter than the others"
"""The legend of the exclamation mark."""


def noise_notes(results: Sequence[TrialResult]) -> Iterator[str]:
    """What the noise of a table's rows means: for their order, and for single steps."""
    successes = [each for each in results if each.success]
    if (line := noise_line(successes)) is not None:
        yield line
    if any(found.outliers for each in successes if (found := noise_of(each))):
        yield OUTLIERS


def text_table(
    rows: Sequence[Sequence[str]], is_number: Sequence[bool], gap: str = "  "
) -> Iterator[str]:
    """A line for each of `rows`, in columns as wide as their widest cell; numbers at the right."""
    widths = [max(map(len, cells)) for cells in zip(*rows, strict=True)]
    for cells in rows:
        parts = (
            f"{cell:>{width}}" if right else f"{cell:<{width}}"
            for cell, width, right in zip(cells, widths, is_number, strict=True)
        )
        yield gap.join(parts).rstrip()

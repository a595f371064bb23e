"""The rows of profiles as cells of text: the columns of every table that people read."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

from pytest_yourai.core import ranking
from pytest_yourai.core.answers import headline
from pytest_yourai.core.axes import (
    GRAD_CHECKPOINT,
    MAX_SEQ_LENGTH,
    NO_VALUE,
    SIZES,
    Axis,
)
from pytest_yourai.core.labels import ConfigLabels
from pytest_yourai.core.noise import noise_line, noise_of
from pytest_yourai.core.results import RECORDED_WITHOUT_BUDGET, TrialResult
from pytest_yourai.core.units import same_memory, same_seconds
from pytest_yourai.report.answer_lines import (
    AnswerTitles,
    beaten_note,
    fits_sentence,
    speed_and_need,
)
from pytest_yourai.report.profile_facts import ranks_note
from pytest_yourai.report.training_commands import training_commands
from pytest_yourai.store.stored_profile import StoredProfile

NOTHING = NO_VALUE
"""Text of a cell without a measurement."""


class Column(NamedTuple):
    """A column: `cell` gives the text for a result; numbers are aligned right."""

    heading: str
    cell: Callable[[TrialResult], str]
    is_number: bool = True


def ranked_rows(profile: StoredProfile) -> list[TrialResult]:
    """All results: the headline, the others that fit, what failed, and what was not run."""
    results = list(profile.results.values())
    failed = [each for each in results if not each.success]
    first = [profile.headline] if profile.headline is not None else []
    order = headline(results, profile.objective).objective
    return [
        *first,
        *(each for each in ranking.best_first(results, order) if each not in first),
        *(each for each in failed if each.started),
        *(each for each in failed if not each.started),
    ]


def columns(profiles: Sequence[StoredProfile]) -> list[Column]:
    """The columns for the rows of `profiles`.

    An axis of length or checkpointing with one value is left out, and so are minima if all are
    peaks.
    """
    results = [result for profile in profiles for result in profile.results.values()]
    return [
        *axis_columns(ConfigLabels.of(each.config for each in results)),
        *memory_columns(results, has_minima=any(each.has_minima for each in profiles)),
        *time_columns(results),
        SPEED,
        *noise_columns(results),
        SCORE,
        *_answer_columns(profiles),
        Column("outcome", outcome, is_number=False),
    ]


def _answer_columns(profiles: Sequence[StoredProfile]) -> Iterator[Column]:
    """Which of the answers each result is."""
    names = {
        id(result): ", ".join(names)
        for profile in profiles
        for names, result in profile.answers
        if len(profiles) == 1 or len(profile.results) > 1
    }
    if names:
        yield Column("answer", lambda each: names.get(id(each), ""), is_number=False)


def label(profile: StoredProfile, profiles: Sequence[StoredProfile]) -> str:
    """Its model, and its file if `profiles` come from several."""
    if len({each.name for each in profiles}) == 1:
        return profile.model
    return f"{profile.model} ({profile.name})"


def aligned(profiles: Sequence[StoredProfile]) -> Iterator[str]:
    """A text table with stars before what nothing beats, and the answers with their commands.

    Several profiles have a column with the model.
    """
    shown = columns(profiles)
    names = ["model"] if len(profiles) > 1 else []
    lines = [["", *names, *(column.heading for column in shown)]]
    for profile in profiles:
        own = [label(profile, profiles)] if names else []
        unbeaten = list(map(id, ranking.pareto(profile.remaining)))
        for result in ranked_rows(profile):
            star = "*" if id(result) in unbeaten else ""
            lines.append([star, *own, *(column.cell(result) for column in shown)])
    is_number = [False, *(False for _ in names), *(column.is_number for column in shown)]
    yield from text_table(lines, is_number)
    naming = ConfigLabels.of(config for profile in profiles for config in profile.results)
    yield unbeaten_legend(naming)
    for note in dict.fromkeys(ranks_note(each.settings) for each in profiles):
        yield from [note] if note else []
    yield from budget_notes(each for profile in profiles for each in profile.results.values())
    for profile in profiles:
        own_name = f"{label(profile, profiles)}: " if names else ""
        for note in noise_notes(list(profile.results.values())):
            yield f"{own_name}{note}"
    for profile in profiles:
        yield from _answers(profile, label(profile, profiles) if names else "")


def _answers(profile: StoredProfile, name: str) -> Iterator[str]:
    """Each answer of a profile: its configuration, whether it fits, and how to train with it.

    Nothing of a check of one of several models.
    """
    if name and len(profile.results) == 1:
        return
    titles = AnswerTitles(list(profile.results.values()), profile.objective)
    for each in training_commands(profile):
        title = titles.of(each.names)
        named = profile.naming.name(each.result.config)
        yield ""
        yield f"{name and f'{name}: '}{title}: {named} ({speed_and_need(each.result)})"
        yield f"  {fits_sentence(each.result, has_minimum=profile.has_minima)}"
        if each.result is profile.headline:
            note = beaten_note(each.result, profile.remaining, profile.naming)
            yield from [f"  {note}"] if note else []
        yield f"  {each.text}"


def unbeaten_legend(naming: ConfigLabels) -> str:
    """What the star of a table means, where `naming` names its rows."""
    has_lengths = MAX_SEQ_LENGTH in naming.varying
    qualities = "capacity, length, speed" if has_lengths else "capacity, speed"
    return f"* unbeaten in {qualities} and memory, beyond noise"


def budget_notes(results: Iterable[TrialResult]) -> Iterator[str]:
    """What the dagger behind a peak means, if one of `results` has it."""
    over = [each for each in results if each.success and each.exceeds_budget]
    if over:
        is_recorded = all(RECORDED_WITHOUT_BUDGET in each.warnings for each in over)
        yield f"{_OVER} {RECORDED_WITHOUT_BUDGET if is_recorded else 'peak over the budget'}"


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


_OVER = "†"


def memory_columns(results: Iterable[TrialResult], *, has_minima: bool = True) -> Iterator[Column]:
    """What each needs, unless no minimum is known, and what it takes; all in one unit."""
    known = list(results)
    minima = [each.minimum_memory_bytes for each in known]
    shown = same_memory([*minima, *(each.peak_memory_bytes for each in known)])

    def taken(result: TrialResult) -> str:
        peak = _or_nothing(result.peak_memory_bytes, shown)
        return peak + _OVER * (result.success and result.exceeds_budget)

    if has_minima:
        yield Column("needs", lambda each: _or_nothing(each.minimum_memory_bytes, shown))
    yield Column("takes", taken)


def time_columns(results: Iterable[TrialResult], step: str = "step") -> Iterator[Column]:
    """The time for a step, headed `step`, and for an update where one takes several steps."""
    known = list(results)
    shown = same_seconds(each.step_time_s for each in known)
    yield Column(step, lambda each: _or_nothing(each.step_time_s, shown))
    if any(each.config.grad_accumulation_steps > 1 for each in known):
        of_update = same_seconds(each.update_time_s for each in known)
        yield Column("update", lambda each: _or_nothing(each.update_time_s, of_update))


SCORE = Column("score", lambda each: f"{each.config.throughput_score:,}")

SPEED = Column("tokens/s", lambda each: _or_nothing(each.tokens_per_second, "{:,.0f}".format))


def _noise(result: TrialResult) -> str:
    found = noise_of(result)
    return NOTHING if found is None else found.percent


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

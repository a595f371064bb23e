"""The answers of a sweep as text: which they are, whether they fit, and what beats them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from pytest_yourai.core.answers import Answers, Pick, is_searched
from pytest_yourai.core.config import Objective
from pytest_yourai.core.labels import ConfigLabels
from pytest_yourai.core.ranking import beaten_by
from pytest_yourai.core.results import RECORDED_WITHOUT_BUDGET, TrialResult
from pytest_yourai.core.units import gigabytes


@dataclass(frozen=True)
class AnswerTitles:
    """Titles of answers among all `results` of a sweep by `objective`."""

    results: Sequence[TrialResult]
    objective: Objective

    def of(self, names: Sequence[Pick]) -> str:
        """`Largest`, or `Fastest, leanest`; after a fast search `Fastest of the 4 measured`."""
        if not is_searched(self.results):
            return ", ".join(names).capitalize()
        wanted = Pick.of(self.objective)
        if wanted in names:
            return wanted.capitalize()
        measured = sum(each.started for each in self.results)
        return f"{', '.join(names).capitalize()} of the {measured} measured"

    def heading(self, names: Sequence[Pick]) -> str:
        """The heading of the answer that comes first."""
        return f"{self.of(names)} configuration that fits"


def other_answers(
    answers: Answers, first: TrialResult | None, titles: AnswerTitles, naming: ConfigLabels
) -> Iterator[str]:
    """A line for each answer but the `first`."""
    for names, result in answers:
        if result is not first:
            yield f"{titles.of(names)}: {naming.name(result.config)} ({speed_and_need(result)})"


def speed_and_need(result: TrialResult) -> str:
    """`4,833 tokens/s, needs 8.5 GB`."""
    need = gigabytes(result.minimum_memory_bytes or 0)
    return f"{result.tokens_per_second or 0:,.0f} tokens/s, needs {need}"


def fits_sentence(result: TrialResult, *, has_minimum: bool = True) -> str:
    """A sentence such as `Fits: needs 12.5 of 16.0 GB, uses up to 13.9 GB when allowed`."""
    limit_bytes = result.memory_limit_bytes
    peak = gigabytes(result.peak_memory_bytes or 0)
    if not has_minimum:
        taken = _of_budget(result.peak_memory_bytes or 0, limit_bytes)
        return f"Fits: takes {taken}; its minimum is not known."
    start = f"Fits: needs {_of_budget(result.minimum_memory_bytes or 0, limit_bytes)}"
    if not result.exceeds_budget:
        return f"{start}, uses up to {peak} when allowed{_without_a_limit(result)}."
    if RECORDED_WITHOUT_BUDGET in result.warnings:
        return f"{start}; its peak of {peak} was recorded without this budget."
    return f"{start}; its peak of {peak} was over the budget."


def _without_a_limit(result: TrialResult) -> str:
    if result.unlimited_peak_bytes is None:
        return ""
    about = gigabytes(result.unlimited_peak_bytes)
    return f"; mlx_lm.lora, which sets no limit, would take about {about}"


def _of_budget(part_bytes: int, whole_bytes: int | None) -> str:
    """`12.5 of 16.0 GB`; `11.6 MB of 16.0 GB`; `12.5 GB` where there is no budget."""
    part = gigabytes(part_bytes)
    if whole_bytes is None:
        return part
    whole = gigabytes(whole_bytes)
    number, unit = part.split(" ")
    return f"{number if whole.endswith(f' {unit}') else part} of {whole}"


def beaten_note(
    result: TrialResult, results: Iterable[TrialResult], naming: ConfigLabels
) -> str | None:
    """What is faster than `result` in no more memory, for at least its rank × layers, if any."""
    better = beaten_by(result, results)
    if better is None:
        return None
    is_faster = (better.tokens_per_second or 0) > (result.tokens_per_second or 0)
    is_leaner = (better.minimum_memory_bytes or 0) < (result.minimum_memory_bytes or 0)
    how = f"{'faster' if is_faster else 'as fast'} in {'less' if is_leaner else 'no more'} memory"
    return f"Note: {naming.name(better.config)} is {how} ({speed_and_need(better)})"

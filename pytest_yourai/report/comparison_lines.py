"""Two sweeps side by side, as lines of text."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from pytest_yourai.core.answers import headline
from pytest_yourai.core.config import LoraConfig
from pytest_yourai.core.noise import noise_of
from pytest_yourai.core.results import TrialResult
from pytest_yourai.core.units import format_change, plural, same_memory, same_seconds
from pytest_yourai.report.styles import Style, StyledLine
from pytest_yourai.report.tables import NOTHING, text_table
from pytest_yourai.store.compare.baseline import BaselineComparison
from pytest_yourai.store.compare.comparison import Change, Comparison, Metric
from pytest_yourai.store.compare.differences import are_of_one_machine
from pytest_yourai.store.compare.noise import changes_within_noise, overall_slowdown
from pytest_yourai.store.compare.thresholds import (
    Regression,
    mean_change,
    not_compared,
)

TITLES = {
    Metric.MINIMUM_MEMORY: "needs",
    Metric.PEAK_MEMORY: "takes",
    Metric.STEP_TIME: "step time",
    Metric.TOKENS_PER_SECOND: "tokens/s",
}


def comparison_lines(
    comparison: Comparison, notes: Sequence[str], width: int | None
) -> Iterator[str]:
    """A table of all configurations, old, new and change; a block for each if it is too wide.

    `notes` come before it; `width` is in columns, None for a log.
    """
    title, *facts = comparison_facts(comparison, notes)
    yield title
    yield from (f"  {fact}" for fact in facts)
    table = _table(comparison)
    is_narrow = width is not None and max(map(len, table)) > width
    yield from _blocks(comparison) if is_narrow else table


def comparison_facts(comparison: Comparison, notes: Sequence[str]) -> Iterator[str]:
    """The two sweeps, the differences of their conditions, answers, and the overall change."""
    before, after = comparison.before, comparison.after
    created = f" of {before.created_at:%Y-%m-%d %H:%M %Z}" if before.created_at else ""
    machines = "" if are_of_one_machine(before, after) else " (two machines)"
    yield f"{after.model}: {after.name} compared with {before.name}{created}{machines}"
    yield from (f"Note: {note}" for note in (*comparison.differences, *notes))
    pick = headline(after.results.values(), after.objective)
    answers = (each.answers.pick(pick) or each.headline for each in (before, after))
    old, new = (comparison.naming.name(each.config) if each else "none" for each in answers)
    yield f"{pick.capitalize()}: {old}" + (", as before" if old == new else f" → {new}")
    slowdown = overall_slowdown(comparison)
    if slowdown is not None:
        yield f"All together: {mean_change(slowdown)}"


def regression_lines(found: Sequence[Regression], gate: str) -> Iterator[str]:
    """A line for each regression; `gate` names the thresholds."""
    count = f"{regression_count(found)} ({gate}){':' * bool(found)}"
    yield StyledLine(count, Style.ANSWER if found else Style.GOOD)
    yield from (StyledLine(f"  REGRESSION {each.text}", Style.BAD, "REGRESSION") for each in found)


def regression_count(found: Sequence[Regression]) -> str:
    """`No regression`, `1 regression`, `2 regressions`."""
    return plural(len(found), "regression") if found else "No regression"


def _table(comparison: Comparison) -> list[str]:
    noisy = changes_within_noise(comparison)
    amounts = ComparedAmounts(comparison)
    titles = [heading for title in TITLES.values() for heading in (title, "now", "change")]
    rows = [["configuration", *titles, "outcome"]]
    for change in comparison.changes:
        cells = [cell for metric in Metric for cell in amounts.of(change, metric)]
        rows.append([comparison.naming.name(change.config), *cells, outcome_change(change, noisy)])
    is_number = [False, *(True for _ in titles), False]
    return [f"  {line}" for line in text_table(rows, is_number)]


def _blocks(comparison: Comparison) -> Iterator[str]:
    noisy = changes_within_noise(comparison)
    amounts = ComparedAmounts(comparison)
    for change in comparison.changes:
        yield f"  {comparison.naming.name(change.config)}: {outcome_change(change, noisy)}"
        for metric, title in TITLES.items():
            before, after, share = amounts.of(change, metric)
            if (before, after) != (NOTHING, NOTHING):
                yield f"    {title:9} {before:>9} → {after:>9} {share:>9}".rstrip()


@dataclass(frozen=True)
class ComparedAmounts:
    """The amounts of a comparison as text, those of one metric in one unit and precision."""

    comparison: Comparison

    def of(self, change: Change, metric: Metric) -> tuple[str, str, str]:
        """Old, new and change of a metric; the change of two successes alone, and none of peaks."""
        comparison = self.comparison
        needs_minima = metric is Metric.MINIMUM_MEMORY
        sides = (comparison.before, change.before), (comparison.after, change.after)
        before, after = (
            NOTHING if needs_minima and not profile.has_minima else self._text(result, metric)
            for profile, result in sides
        )
        share = None if needs_minima and comparison.lacks(metric) else change.share(metric)
        return before, after, NOTHING if share is None else format_change(share)

    @cached_property
    def _formats(self) -> Mapping[Metric, Callable[[float], str]]:
        every = [
            result
            for change in self.comparison.changes
            for result in (change.before, change.after)
            if result
        ]
        return {
            Metric.MINIMUM_MEMORY: same_memory(map(Metric.MINIMUM_MEMORY.of, every)),
            Metric.PEAK_MEMORY: same_memory(map(Metric.PEAK_MEMORY.of, every)),
            Metric.STEP_TIME: same_seconds(map(Metric.STEP_TIME.of, every)),
            Metric.TOKENS_PER_SECOND: "{:,.0f}".format,
        }

    def _text(self, result: TrialResult | None, metric: Metric) -> str:
        value = metric.of(result) if result else None
        if value is None:
            return NOTHING
        noise = noise_of(result) if result and metric is Metric.STEP_TIME else None
        return f"{self._formats[metric](value)}{f' {noise}' if noise else ''}"


def outcome_change(change: Change, noisy: Container[LoraConfig]) -> str:
    """`ok`, or `ok → oom`; `new: ok` or `ok → not tried` if one sweep lacks the configuration.

    Of the `noisy` ones that the change of the step time is within the noise.
    """
    if change.before is None:
        return f"new: {_outcome(change.after)}"
    if change.after is None:
        return f"{_outcome(change.before)} → not tried"
    before, after = _outcome(change.before), _outcome(change.after)
    if before != after:
        return f"{before} → {after}"
    share = change.share(Metric.STEP_TIME)
    is_noise = share is not None and format_change(abs(share)) != format_change(0.0)
    return f"{before}, time within noise" if is_noise and change.config in noisy else before


def _outcome(result: TrialResult | None) -> str:
    return result.outcome.replace("_", " ") if result else NOTHING


def baseline_lines(compared: BaselineComparison, width: int | None) -> Iterator[str]:
    """All comparisons, for a terminal of `width` columns; None for a log."""
    for comparison in compared.comparisons:
        yield from comparison_lines(
            comparison, list(not_compared(comparison, compared.gate)), width
        )
        if (reason := comparison.not_comparable) is not None:
            yield f"Not comparable: {reason}"
            continue
        yield from regression_lines(compared.regressions(comparison), str(compared.gate))
        yield from (f"  {each}" for each in compared.verdicts_of(comparison))
    if compared.missing:
        yield f"Not tried now: {', '.join(compared.missing)}"

"""The table of the configurations that fit, best first, as wide and as long as there is room."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Container, Iterable, Iterator, Sequence

from pytest_yourai.core.axes import GRAD_ACCUMULATION_STEPS
from pytest_yourai.core.config import LoraConfig, Objective
from pytest_yourai.core.labels import ConfigLabels
from pytest_yourai.core.outcomes import Outcome, SkipReason
from pytest_yourai.core.ranking import (
    accumulation_follows,
    best_first,
    fastest_batches,
    independent,
    pareto,
)
from pytest_yourai.core.results import TrialResult
from pytest_yourai.core.sanitize import printable
from pytest_yourai.core.units import gigabytes
from pytest_yourai.report.screen import TerminalSize
from pytest_yourai.report.styles import Style, StyledLine, faint
from pytest_yourai.report.tables import (
    SCORE,
    SPEED,
    Column,
    axis_columns,
    budget_notes,
    memory_columns,
    noise_columns,
    noise_notes,
    text_table,
    time_columns,
    unbeaten_legend,
)

_LEAST_TO_CHOOSE_FROM = 2

_FEWEST_COLUMNS = 2

_LEFT_OUT = ("update", "a step", SCORE.heading, "±", "takes")
"""The columns that make room in a narrow terminal, the first ones first."""


def configuration_lines(
    results: Sequence[TrialResult],
    objective: Objective,
    naming: ConfigLabels,
    room: TerminalSize,
    others: int,
) -> Iterator[str]:
    """A table of the successes, or nothing if they are fewer than two.

    It leaves room for `others` lines. If rows are cut, the marked ones stay, and the best of the
    rest.
    """
    ranked = best_first(results, objective)
    if len(ranked) < _LEAST_TO_CHOOSE_FROM:
        return
    marks = _marks(ranked)
    legend = [
        *_legend(naming, (each.config for each in ranked)),
        *budget_notes(ranked),
        *noise_notes(ranked),
    ]
    kept = _kept(ranked, marks, room.rows_beside(others + len(legend) + 3))
    yield "Configurations that fit, best first"
    columns = [
        Column("", lambda result: marks.get(result.config, "")),
        *axis_columns(naming, checkpoint="ckpt"),
        SPEED,
        *noise_columns(ranked),
        *([SCORE] if objective is Objective.SCORE else []),
        *memory_columns(ranked),
        *time_columns(ranked, "a step"),
    ]
    heading, *lines = _fitting(columns, kept, room.columns)
    yield faint(heading)
    yield from (
        StyledLine(line, Style.ANSWER) if each is ranked[0] else line
        for line, each in zip(lines, kept, strict=True)
    )
    if more := len(ranked) - len(kept):
        yield f"  {more} more: -v shows them"
    yield from map(faint, legend)


def _marks(results: Sequence[TrialResult]) -> dict[LoraConfig, str]:
    unbeaten = {result.config for result in pareto(results)}
    fastest = {result.config for result in fastest_batches(results)}
    return {
        config: ("*" if config in unbeaten else " ") + (">" if config in fastest else " ")
        for config in unbeaten | fastest
    }


def _legend(naming: ConfigLabels, configs: Iterable[LoraConfig]) -> list[str]:
    varying = independent(naming.varying, configs)
    axes = " × ".join(("rank × layers", *(axis.title.lower() for axis in varying)))
    return [unbeaten_legend(naming), f"> the fastest batch size of its {axes}"]


def _kept(
    ranked: Sequence[TrialResult], marks: Container[LoraConfig], most: int | None
) -> Sequence[TrialResult]:
    if most is None or len(ranked) <= most:
        return ranked
    marked_first = sorted(ranked[1:], key=lambda result: result.config not in marks)
    chosen = {ranked[0].config, *(result.config for result in marked_first[: most - 1])}
    return [result for result in ranked if result.config in chosen]


def _fitting(
    columns: Sequence[Column], results: Sequence[TrialResult], width: int | None
) -> list[str]:
    """The table with as many of its columns as there is room for."""
    shown, left_out = list(columns), list(_LEFT_OUT)
    if accumulation_follows(each.config for each in results):
        left_out.append(GRAD_ACCUMULATION_STEPS.label)
    while True:
        rows = [
            [column.heading for column in shown],
            *([column.cell(result) for column in shown] for result in results),
        ]
        for gap in ("  ", " "):
            lines = [f"{gap}{line}" for line in text_table(rows, [True] * len(shown), gap)]
            if width is None or max(map(len, lines)) <= width:
                return lines
        if len(shown) == _FEWEST_COLUMNS:
            return lines
        known = {column.heading: column for column in shown}
        shown.remove(next((known[each] for each in left_out if each in known), shown[-1]))


_SHOWN_OF_A_CLASS = 3


def failure_lines(
    results: Sequence[TrialResult], naming: ConfigLabels, room: TerminalSize
) -> Iterator[str]:
    """Each class once, with its configurations; some of them where there are many."""
    classes: defaultdict[tuple[Outcome, str], list[TrialResult]] = defaultdict(list)
    for result in results:
        if not result.success and result.outcome is not Outcome.SKIPPED:
            classes[result.outcome, printable(result.remedy or "")].append(result)
    if classes:
        yield StyledLine("Failed", Style.BAD)
    for (outcome, remedy), failed in sorted(classes.items()):
        yield f"  {outcome.replace('_', ' ')}{f': {remedy}' if remedy else ''}"
        shown = failed if room.is_verbose else failed[:_SHOWN_OF_A_CLASS]
        for result in shown:
            reason = printable(result.reason or "")
            if outcome is Outcome.OVER_BUDGET and result.minimum_memory_bytes is not None:
                reason = f"needs {gigabytes(result.minimum_memory_bytes)}"
            yield f"    {naming.name(result.config)}{f': {reason}' if reason else ''}"
        if more := len(failed) - len(shown):
            yield f"    {more} more: -v shows them"


def not_run_lines(results: Sequence[TrialResult]) -> Iterator[str]:
    """Counts of skipped trials by reason; those that the search left out have their own line."""
    reasons = Counter(
        _skip_reason(result)
        for result in results
        if result.outcome is Outcome.SKIPPED and result.skip_reason is not SkipReason.SEARCH_IS_DONE
    )
    if reasons:
        yield "Not run"
    for reason, count in reasons.most_common():
        yield faint(f"  {count} {reason}")


def _skip_reason(result: TrialResult) -> str:
    """The reason, without the figures that differ between predictions."""
    if result.skip_reason is SkipReason.PREDICTED_OVER_BUDGET:
        return f"predicted over the budget; {printable(result.remedy or '')}"
    return printable(result.error or "for no reason that is known")

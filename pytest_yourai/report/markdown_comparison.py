"""A comparison in GitHub's Markdown: what got worse, and old, new and change of all."""

from __future__ import annotations

from collections.abc import Iterator

from pytest_yourai.compared import Compared
from pytest_yourai.comparison.changes import Change, Comparison, Metric
from pytest_yourai.comparison.gate import Gate, not_compared, regressions
from pytest_yourai.report.comparison_lines import (
    TITLES,
    comparison_facts,
    outcome_change,
    regression_count,
    values_and_change,
)
from pytest_yourai.report.markdown_text import escaped, table


def comparison_section(compared: Compared) -> Iterator[str]:
    """All models of it, each under a heading of its own."""
    for comparison in compared.comparisons:
        yield from _of_one(comparison, compared.gate)


def _of_one(comparison: Comparison, gate: Gate) -> Iterator[str]:
    title, *facts = comparison_facts(comparison, list(not_compared(comparison, gate)))
    yield f"### {escaped(title)}"
    yield ""
    found = regressions(comparison, gate)
    yield f"**{regression_count(found)}** ({escaped(str(gate))})"
    yield ""
    yield from (f"- **Worse:** {escaped(str(each))}" for each in found)
    yield from (f"- {escaped(fact)}" for fact in facts)
    yield ""
    yield from table(
        ["configuration: old / new / change", *TITLES.values(), "outcome"],
        (_cells(comparison, change) for change in comparison.changes),
        [False, *(True for _ in TITLES), False],
    )
    yield ""


def _cells(comparison: Comparison, change: Change) -> list[str]:
    name = comparison.naming.name(change.config)
    values = (" / ".join(values_and_change(comparison, change, metric)) for metric in Metric)
    return [escaped(each) for each in (name, *values, outcome_change(change))]

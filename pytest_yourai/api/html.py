"""A profile as HTML for a notebook. All texts are escaped: names come from files."""

from __future__ import annotations

import html
from collections.abc import Iterable, Iterator, Sequence

from pytest_yourai.core.answers import Answers
from pytest_yourai.core.results import TrialResult
from pytest_yourai.core.units import gigabytes
from pytest_yourai.report.profile_facts import where_measured
from pytest_yourai.report.tables import SPEED, Column, columns, memory_columns, ranked_rows
from pytest_yourai.store.stored_profile import StoredProfile

_MOST_ROWS = 50


def page_of(stored: StoredProfile, answers: Answers) -> str:
    """Its model and machine, the answers, and the rows, best first."""
    return "".join(_parts(stored, answers))


def _parts(stored: StoredProfile, answers: Answers) -> Iterator[str]:
    budget = stored.memory_limit_bytes
    within = f", budget {gigabytes(budget)}" if budget is not None else ""
    yield f"<h4>{html.escape(stored.model)}</h4>"
    yield f"<p>{html.escape(stored.name)}: {html.escape(where_measured(stored))}{within}"
    yield "</p>" if stored.complete else ", incomplete</p>"
    found = list(answers)
    if found:
        configuration = Column("configuration", lambda row: stored.naming.name(row.config), False)
        results = [result for _, result in found]
        shown = [configuration, SPEED, *memory_columns(results)]
        names = [", ".join(names) for names, _ in found]
        yield _table(shown, results, names)
    else:
        yield "<p>Nothing fits.</p>"
    rows = ranked_rows(stored)
    yield f"<details><summary>{len(rows):,} configurations, best first</summary>"
    yield _table(columns([stored]), rows[:_MOST_ROWS])
    if len(rows) > _MOST_ROWS:
        yield f"<p>{len(rows) - _MOST_ROWS:,} more: see rows</p>"
    yield "</details>"


def _table(shown: Sequence[Column], rows: Iterable[TrialResult], names: Sequence[str] = ()) -> str:
    heads = (["answer"] if names else []) + [column.heading for column in shown]
    lines = ["".join(f"<th>{html.escape(head)}</th>" for head in heads)]
    for number, row in enumerate(rows):
        first = f"<th>{html.escape(names[number])}</th>" if names else ""
        lines.append(first + "".join(_cell(column, row) for column in shown))
    return f"<table>{''.join(f'<tr>{line}</tr>' for line in lines)}</table>"


def _cell(column: Column, row: TrialResult) -> str:
    align = ' style="text-align:right"' if column.is_number else ""
    return f"<td{align}>{html.escape(column.cell(row))}</td>"

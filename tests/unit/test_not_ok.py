"""What failed, by class, and what was not run, by reason."""

from __future__ import annotations

import dataclasses

from pytest_yourai.core.config import LoraConfig
from pytest_yourai.core.labels import ConfigLabels
from pytest_yourai.core.results import Outcome, TrialResult
from pytest_yourai.report.screen import TerminalSize
from pytest_yourai.report.summary import failure_lines, not_run_lines
from pytest_yourai.sweep.search.sweep_search import not_needed

NAMING = ConfigLabels(64, grad_checkpoint=False)


def failed(batch_size: int, outcome: Outcome, reason: str, need: int | None = None) -> TrialResult:
    config = LoraConfig(batch_size, 8, 4, 64)
    return TrialResult("m", config, outcome, reason, minimum_memory_bytes=need)


OVER = [
    failed(size, Outcome.OVER_BUDGET, "needs too much; choose a smaller one", size * 1_000_000)
    for size in (2, 3, 4, 5, 6)
]


def test_each_class_is_told_once_with_its_remedy() -> None:
    crash = failed(1, Outcome.CRASHED, "it ended; it \x1b[31mreally did; see its output")
    hang = failed(7, Outcome.TIMEOUT, "no end")
    ok = dataclasses.replace(hang, outcome=Outcome.OK)
    skipped = dataclasses.replace(hang, outcome=Outcome.SKIPPED)
    lines = list(failure_lines([ok, crash, *OVER, hang, skipped], NAMING, TerminalSize()))
    assert lines == [
        "Failed",
        "  crashed: see its output",
        "    batch=1, rank=8, layers=4: it ended; it ?[31mreally did",
        "  over budget: choose a smaller one",
        "    batch=2, rank=8, layers=4: needs 2.0 MB",
        "    batch=3, rank=8, layers=4: needs 3.0 MB",
        "    batch=4, rank=8, layers=4: needs 4.0 MB",
        "    2 more: -v shows them",
        "  timeout",
        "    batch=7, rank=8, layers=4: no end",
    ]
    assert len(list(failure_lines(OVER, NAMING, TerminalSize(is_verbose=True)))) == 7


def test_where_nothing_failed_nothing_is_said() -> None:
    assert list(failure_lines([], NAMING, TerminalSize())) == []
    assert list(not_run_lines(OVER, None)) == []


def test_what_was_not_run_is_counted_by_reason() -> None:
    predicted = [
        failed(size, Outcome.SKIPPED, f"predicted over the budget of {size} GB; add --yourai-force")
        for size in (1, 2)
    ]
    smaller = failed(3, Outcome.SKIPPED, "no smaller than batch=2, which failed")
    searched = failed(4, Outcome.SKIPPED, not_needed("the best is known"))
    unstarted = [
        dataclasses.replace(each, started=False) for each in (smaller, *predicted, searched)
    ]
    assert list(not_run_lines(unstarted, "the best is known")) == [
        "Not run",
        "  2 predicted over the budget; add --yourai-force",
        "  1 no smaller than batch=2, which failed",
    ]

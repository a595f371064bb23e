"""What failed, by class, and what was not run, by reason."""

from __future__ import annotations

import dataclasses
from typing import Any

from pytest_yourai.core.config import LoraConfig
from pytest_yourai.core.labels import ConfigLabels
from pytest_yourai.core.outcomes import Outcome, SkipReason
from pytest_yourai.core.results import TrialResult
from pytest_yourai.report.screen import TerminalSize
from pytest_yourai.report.summary import failure_lines, not_run_lines

NAMING = ConfigLabels.of([LoraConfig(1, 1, 1, 64)])


def failed(batch_size: int, outcome: Outcome, reason: str, **more: Any) -> TrialResult:
    return TrialResult("m", LoraConfig(batch_size, 8, 4, 64), outcome, reason, **more)


def skipped(batch_size: int, reason: str, rule: SkipReason, **more: Any) -> TrialResult:
    skip = {"skip_reason": rule, "started": False}
    return failed(batch_size, Outcome.SKIPPED, reason, **skip, **more)


OVER = [
    failed(
        size,
        Outcome.OVER_BUDGET,
        "needs too much",
        remedy="choose a smaller one",
        minimum_memory_bytes=size * 1_000_000,
    )
    for size in (2, 3, 4, 5, 6)
]


def test_each_class_is_shown_once_with_its_remedy() -> None:
    crash = failed(1, Outcome.CRASHED, "it ended; it \x1b[31mreally did", remedy="see its output")
    hang = failed(7, Outcome.TIMEOUT, "no end")
    ok = dataclasses.replace(hang, outcome=Outcome.OK)
    unneeded = dataclasses.replace(hang, outcome=Outcome.SKIPPED)
    lines = list(failure_lines([ok, crash, *OVER, hang, unneeded], NAMING, TerminalSize()))
    assert lines == [
        "Failed",
        "  crashed: see its output",
        "    batch=1, rank=8, layers=4: it ended; it really did",
        "  over budget: choose a smaller one",
        "    batch=2, rank=8, layers=4: needs 2.0 MB",
        "    batch=3, rank=8, layers=4: needs 3.0 MB",
        "    batch=4, rank=8, layers=4: needs 4.0 MB",
        "    2 more: -v shows them",
        "  timeout",
        "    batch=7, rank=8, layers=4: no end",
    ]
    assert len(list(failure_lines(OVER, NAMING, TerminalSize(is_verbose=True)))) == 7


def test_where_nothing_failed_nothing_is_shown() -> None:
    assert list(failure_lines([], NAMING, TerminalSize())) == []
    assert list(not_run_lines(OVER)) == []


def test_what_was_not_run_is_counted_by_reason() -> None:
    predicted = [
        skipped(
            size,
            f"predicted over the budget of {size} GB",
            SkipReason.PREDICTED_OVER_BUDGET,
            remedy="add --yourai-force",
        )
        for size in (1, 2)
    ]
    smaller = skipped(3, "no smaller than batch=2, which failed", SkipReason.DOMINATED)
    searched = skipped(4, "not needed: the best is known", SkipReason.SEARCH_IS_DONE)
    assert list(not_run_lines([smaller, *predicted, searched])) == [
        "Not run",
        "  2 predicted over the budget; add --yourai-force",
        "  1 no smaller than batch=2, which failed",
    ]

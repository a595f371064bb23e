"""What failed, by class and with its remedy, and what was not run, by reason."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence

from pytest_yourai.naming import Naming
from pytest_yourai.printable import printable
from pytest_yourai.report.room import Room
from pytest_yourai.results import PREDICTED_OVER, Outcome, TrialResult
from pytest_yourai.sweep_search import not_needed
from pytest_yourai.units import gigabytes

_SHOWN_OF_A_CLASS = 3


def failure_lines(results: Sequence[TrialResult], naming: Naming, room: Room) -> Iterator[str]:
    """Each class once, with its configurations; some of them where there are many."""
    classes: defaultdict[tuple[Outcome, str], list[TrialResult]] = defaultdict(list)
    for result in results:
        if not result.success and result.outcome is not Outcome.SKIPPED:
            classes[result.outcome, _remedy(result)].append(result)
    if classes:
        yield "Failed"
    for (outcome, remedy), failed in sorted(classes.items()):
        yield f"  {outcome.replace('_', ' ')}{f': {remedy}' if remedy else ''}"
        shown = failed if room.is_verbose else failed[:_SHOWN_OF_A_CLASS]
        for result in shown:
            what = _what(result)
            yield f"    {naming.name(result.config)}{f': {what}' if what else ''}"
        if more := len(failed) - len(shown):
            yield f"    {more} more: -v shows them"


def _remedy(result: TrialResult) -> str:
    """What to do about it, with which reasons end; empty where this one does not."""
    _, separator, remedy = printable(result.reason or "").rpartition("; ")
    return remedy if separator else ""


def _what(result: TrialResult) -> str:
    """What happened, in words."""
    if result.outcome is Outcome.OVER_BUDGET and result.minimum_memory_bytes is not None:
        return f"needs {gigabytes(result.minimum_memory_bytes)}"
    reason = printable(result.reason or "")
    return reason.rpartition("; ")[0] or reason


def not_run_lines(results: Sequence[TrialResult], stopped: str | None) -> Iterator[str]:
    """How many for which reason; what a search that `stopped` left out is told by its own line."""
    left_out = None if stopped is None else not_needed(stopped)
    reasons = Counter(
        _why(result)
        for result in results
        if result.outcome is Outcome.SKIPPED and result.reason != left_out
    )
    if reasons:
        yield "Not run"
    for reason, count in reasons.most_common():
        yield f"  {count} {reason}"


def _why(result: TrialResult) -> str:
    """The reason, without the figures of its own that a prediction has."""
    if result.is_predicted_over:
        return f"{PREDICTED_OVER}; {_remedy(result)}"
    return printable(result.reason or "for no reason that is known")

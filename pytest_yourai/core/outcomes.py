"""How a run ended: its outcome, and the rule by which one was skipped."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class Outcome(enum.StrEnum):
    """Outcome of a trial."""

    OK = "ok"
    OVER_BUDGET = "over_budget"
    OOM = "oom"
    PAGING = "paging"
    SAFETY_STOP = "safety_stop"
    MACHINE_CRASH = "machine_crash"
    TIMEOUT = "timeout"
    CRASHED = "crashed"
    INVALID_LOSS = "invalid_loss"
    ERROR = "error"
    PEER_LOST = "peer_lost"
    CONNECT_FAILED = "connect_failed"
    COLLECTIVE_STALLED = "collective_stalled"
    UNAVAILABLE = "unavailable"
    SKIPPED = "skipped"

    @property
    def is_memory_failure(self) -> bool:
        """True if it did not fit, by whatever sign."""
        return self in (
            Outcome.OVER_BUDGET,
            Outcome.OOM,
            Outcome.PAGING,
            Outcome.SAFETY_STOP,
            Outcome.MACHINE_CRASH,
        )

    @property
    def is_failure(self) -> bool:
        """True if something went wrong that memory does not explain."""
        return self in (
            Outcome.TIMEOUT,
            Outcome.CRASHED,
            Outcome.INVALID_LOSS,
            Outcome.ERROR,
            Outcome.PEER_LOST,
            Outcome.CONNECT_FAILED,
            Outcome.COLLECTIVE_STALLED,
        )

    @property
    def leaves_the_worker_usable(self) -> bool:
        """True if the worker can run the next trial."""
        return self in (Outcome.OK, Outcome.OVER_BUDGET)


class Overdue(enum.StrEnum):
    """The limit that a run was over when it ended as `timeout`."""

    ITEM = "item"
    STEP = "step"
    COMPILE = "compile"


LETTERS = dict(zip(Outcome, "✓BOPSMTCLERNKU–", strict=True))
"""One character for each outcome."""


class SkipReason(enum.StrEnum):
    """Rule by which a trial was skipped."""

    PREDICTED_OVER_BUDGET = "predicted_over_budget"
    OVER_DEVICE_LIMIT = "over_device_limit"
    """Metal allows no array as large as one of its own, or not so many."""
    DOMINATED = "dominated"
    """A configuration, or a model, that needs no more had failed for memory."""
    SEARCH_IS_DONE = "search_is_done"
    SEARCHED_ELSEWHERE = "searched_elsewhere"
    """The fast search went on among the tests of another file or class."""
    INVALID = "invalid"
    """The model has too few layers for it, or the data too few rows."""
    CHECK_FAILED = "check_failed"
    """The safe configuration of its model had failed."""
    NOT_RECORDED = "not_recorded"

    @property
    def is_predicted(self) -> bool:
        """True if the estimate was that it does not fit."""
        return self in (SkipReason.PREDICTED_OVER_BUDGET, SkipReason.OVER_DEVICE_LIMIT)


@dataclass(frozen=True, slots=True)
class Skip:
    """A decision not to run a trial: the rule that made it, and what it found, in words."""

    rule: SkipReason
    reason: str
    remedy: str | None = None


class WithOutcome:
    """Properties of results that have an outcome, and a reason and a remedy for it."""

    __slots__ = ()

    outcome: Outcome
    reason: str | None
    remedy: str | None
    conclusive: bool

    @property
    def success(self) -> bool:
        """True if the outcome is ok."""
        return self.outcome is Outcome.OK

    @property
    def error(self) -> str | None:
        """The reason and the remedy in one sentence; None for ok."""
        return f"{self.reason}; {self.remedy}" if self.reason and self.remedy else self.reason

    @property
    def prunes_larger(self) -> bool:
        """True if configurations that need no less would fail in the same way."""
        return self.outcome.is_memory_failure and self.conclusive

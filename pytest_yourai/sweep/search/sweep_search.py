"""Fast search within one sweep: the next trial, and the trials that are not needed."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from pytest_yourai.core.config import LoraConfig
from pytest_yourai.core.outcomes import Outcome, Skip, SkipReason
from pytest_yourai.core.results import TrialResult
from pytest_yourai.plan.sweep_plan import SweepPlan
from pytest_yourai.sweep.search.memory_model import PredictsMinimum
from pytest_yourai.sweep.search.strategy import choose_next


class SweepSearch:
    """Search among the configurations of `plan`, within a budget of `limit_bytes`.

    `predictor` is asked before each choice, so that it can learn from the trials.
    """

    def __init__(
        self,
        plan: SweepPlan,
        limit_bytes: int,
        predictor: PredictsMinimum,
    ) -> None:
        self._plan = plan
        self._limit_bytes = limit_bytes
        self._predictor = predictor
        self._left: set[LoraConfig] = set()
        self.chosen: LoraConfig | None = None
        self.stopped: str | None = None
        """Why no more trials are needed."""

    @property
    def is_on(self) -> bool:
        """True while it still has to choose."""
        return self._plan.search == "fast" and self.stopped is None

    def choose(
        self,
        here: Collection[LoraConfig],
        elsewhere: Collection[LoraConfig],
        known: Mapping[LoraConfig, TrialResult],
    ) -> LoraConfig | None:
        """Next of the configurations `here`; None if none of them is.

        Those `elsewhere` are judged as well, but cannot run next.
        """
        if not self.is_on:
            return None
        waiting = {*here, *elsewhere}
        configs = [each for each in self._plan.configs if each in waiting or each in known]
        choice = choose_next(
            configs, self._predictor, known, self._limit_bytes, self._plan.objective
        )
        if choice.config is None:
            self.stopped = choice.reason
            if self._plan.recording is not None and not self._plan.recording.has_minima:
                self.stopped += "; peaks are not monotone, so that it may be wrong"
            return None
        if choice.config in here:
            self.chosen = choice.config
            return choice.config
        self._left.update(set(here) - set(elsewhere))
        return None

    def reason_to_skip(self, config: LoraConfig) -> Skip | None:
        """Reason why a configuration is not needed; None while it may be."""
        if self.stopped is not None:
            return Skip(SkipReason.SEARCH_IS_DONE, f"not needed: {self.stopped}")
        if config in self._left:
            return Skip(
                SkipReason.SEARCHED_ELSEWHERE,
                "not needed here: the search went on among the tests of another file or class",
            )
        return None

    def doubts(self, failed: TrialResult, config: LoraConfig) -> bool:
        """True if `config` was chosen although a smaller one was measured over the budget."""
        return config == self.chosen and failed.outcome is Outcome.OVER_BUDGET

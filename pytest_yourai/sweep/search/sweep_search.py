"""The fast search within one sweep: which trial is next, and which are not needed."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from pytest_yourai.core.config import LoraConfig
from pytest_yourai.core.results import Outcome, Skip, SkipReason, TrialResult
from pytest_yourai.plan.sweep_plan import SweepPlan
from pytest_yourai.sweep.search.memory_model import Predicted
from pytest_yourai.sweep.search.strategy import choose_next


class SweepSearch:
    """Chooses among the configurations of `plan`, within a budget of `limit_bytes`.

    It learns from trials by itself, and doubts them: `predictions` are those before the first one.
    """

    def __init__(
        self, plan: SweepPlan, limit_bytes: int, predictions: Mapping[LoraConfig, Predicted]
    ) -> None:
        self._plan = plan
        self._limit_bytes = limit_bytes
        self._predictions = predictions
        self._left: set[LoraConfig] = set()
        self.chosen: LoraConfig | None = None
        self.stopped: str | None = None
        """Why no more trials are needed."""

    @property
    def is_on(self) -> bool:
        """Whether it still has to choose."""
        return self._plan.search == "fast" and self.stopped is None

    def choose(
        self,
        here: Collection[LoraConfig],
        elsewhere: Collection[LoraConfig],
        known: Mapping[LoraConfig, TrialResult],
    ) -> LoraConfig | None:
        """Which of the configurations `here` runs next; None for none of them.

        It judges those `elsewhere` too, that cannot run next.
        """
        if not self.is_on:
            return None
        waiting = {*here, *elsewhere}
        configs = [each for each in self._plan.configs if each in waiting or each in known]
        choice = choose_next(
            configs, self._predictions, known, self._limit_bytes, self._plan.objective
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
        """Why a configuration need not run; None where it may have to."""
        if self.stopped is not None:
            return Skip(SkipReason.SEARCH_IS_DONE, f"not needed: {self.stopped}")
        if config in self._left:
            return Skip(
                SkipReason.SEARCHED_ELSEWHERE,
                "not needed here: the search went on among the tests of another file or class",
            )
        return None

    def doubts(self, failed: TrialResult, config: LoraConfig) -> bool:
        """Whether `config` was chosen because a smaller one's minimum is taken for wrong."""
        return config == self.chosen and failed.outcome is Outcome.OVER_BUDGET

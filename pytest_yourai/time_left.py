"""How long the rest of a sweep takes, by the trials that it has measured."""

from __future__ import annotations

import statistics
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

from pytest_yourai.config import COMPILING_STEPS, LoraConfig
from pytest_yourai.results import TrialResult

_TRIALS = 5
"""So many of the last ones count: the nearer a configuration, the more it is like the next."""


@dataclass(frozen=True, slots=True)
class _Timed:
    """A trial: seconds for a token of its rows, how many steps it took, and the rest of its time.

    The rest is to load the model where that was needed, to compile, and to clear up.
    """

    token_s: float
    steps: int
    rest_s: float


class TrialTimes:
    """Filled with the trials of one sweep as they end."""

    def __init__(self) -> None:
        self._last: deque[_Timed] = deque(maxlen=_TRIALS)

    def add(self, result: TrialResult, time_s: float) -> None:
        """Take in a trial that took `time_s`; those without measured steps say nothing."""
        step_s = result.step_time_s
        if not result.success or result.kept or not step_s:
            return
        steps = len(result.warmup_step_times_s) - COMPILING_STEPS + len(result.step_times_s)
        rest_s = max(0.0, time_s - steps * step_s)
        self._last.append(_Timed(step_s / _tokens(result.config), steps, rest_s))

    def expected_s(self, configs: Iterable[LoraConfig]) -> float | None:
        """How long trials of `configs` take in all; None before anything was measured."""
        if not self._last:
            return None
        token_s = statistics.median(each.token_s for each in self._last)
        steps = statistics.median(each.steps for each in self._last)
        rest_s = statistics.median_low(each.rest_s for each in self._last)
        return sum(rest_s + steps * token_s * _tokens(config) for config in configs)


def _tokens(config: LoraConfig) -> int:
    """Of a step with rows of full length."""
    return config.batch_size * config.max_seq_length

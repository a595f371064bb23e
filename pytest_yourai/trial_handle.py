"""What tests get of a trial: the value of the `trial` fixture."""

from __future__ import annotations

from dataclasses import dataclass, field

from pytest_yourai.core.config import LoraConfig
from pytest_yourai.core.results import Outcome, TrialResult

_BYTES_PER_GB = 1e9


class TrialError(Exception):
    """A trial was asked for what it does not have (yet)."""


@dataclass
class Trial:
    """What the `trial` fixture gives to a test: measured when the test is called.

    Memory in GB (1e9 bytes), times in seconds.
    """

    model: str
    config: LoraConfig
    item_id: str = ""
    """What the test is called by, in its brackets."""
    _result: TrialResult | None = field(default=None, repr=False)

    @property
    def result(self) -> TrialResult:
        if self._result is None:
            raise TrialError(
                "the trial is measured when the test is called: read it in the test, not in a "
                "fixture"
            )
        return self._result

    def ended_as(self, result: TrialResult) -> None:
        """Fill in what was measured; only the item's own hook does this."""
        self._result = result

    @property
    def success(self) -> bool:
        return self.result.success

    @property
    def outcome(self) -> Outcome:
        return self.result.outcome

    @property
    def minimum_memory_gb(self) -> float:
        """What the configuration needs: the MLX peak under the lowest memory limit."""
        return _there(self.result.minimum_memory_bytes) / _BYTES_PER_GB

    @property
    def safe_memory_gb(self) -> float:
        """The minimum with the margin of 15 %."""
        return _there(self.result.safe_memory_bytes) / _BYTES_PER_GB

    @property
    def peak_memory_gb(self) -> float:
        """What it takes within the budget: the MLX peak of the measured steps."""
        return _there(self.result.peak_memory_bytes) / _BYTES_PER_GB

    @property
    def memory_limit_gb(self) -> float:
        return _there(self.result.memory_limit_bytes) / _BYTES_PER_GB

    @property
    def step_time_s(self) -> float:
        """Median of the measured steps."""
        return _there(self.result.step_time_s)

    @property
    def tokens_per_second(self) -> float:
        return _there(self.result.tokens_per_second)

    @property
    def throughput_score(self) -> int:
        return self.config.throughput_score


def _there(value: float | None) -> float:
    if value is None:
        raise TrialError("the trial ended before this was measured")
    return value

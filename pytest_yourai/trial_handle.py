"""The value of the `trial` fixture: one measured trial, as tests see it."""

from __future__ import annotations

from dataclasses import dataclass, field

from pytest_yourai.core.config import LoraConfig
from pytest_yourai.core.errors import YouraiError
from pytest_yourai.core.outcomes import Outcome
from pytest_yourai.core.results import TrialResult
from pytest_yourai.core.units import GB

__all__ = ["Trial", "TrialError"]


class TrialError(YouraiError):
    """A value of a trial was read that is not there (yet)."""


@dataclass
class Trial:
    """One trial, measured when the test is called. Memory in GB (1e9 bytes), times in seconds.

    Reading a result before that, or a value that the trial did not reach, raises TrialError.
    """

    model: str
    config: LoraConfig
    item_id: str = ""
    """Id of the test: the text in its brackets."""
    _result: TrialResult | None = field(default=None, repr=False)

    @property
    def result(self) -> TrialResult:
        """All measurements, in bytes and seconds. TrialError before the test is called."""
        if self._result is None:
            raise TrialError(
                "the trial is measured when the test is called: read it in the test, not in a "
                "fixture"
            )
        return self._result

    def ended_as(self, result: TrialResult) -> None:
        """Set the result. Only the item's own hook calls this."""
        self._result = result

    @property
    def success(self) -> bool:
        """True if the outcome is ok: it ran and fits. TrialError before the test is called."""
        return self.result.success

    @property
    def outcome(self) -> Outcome:
        """How the trial ended. TrialError before the test is called."""
        return self.result.outcome

    @property
    def minimum_memory_gb(self) -> float:
        """GB that the configuration needs, MLX's peak under the lowest memory limit.

        TrialError if the trial ended before that was measured.
        """
        return _reached(self.result.minimum_memory_bytes) / GB

    @property
    def safe_memory_gb(self) -> float:
        """`minimum_memory_gb` with the margin of 15 %. TrialError if it was not reached."""
        return _reached(self.result.safe_memory_bytes) / GB

    @property
    def peak_memory_gb(self) -> float:
        """GB that it takes within the budget, MLX's peak in the measured steps.

        TrialError if the trial ended before them.
        """
        return _reached(self.result.peak_memory_bytes) / GB

    @property
    def memory_limit_gb(self) -> float:
        """Memory budget in GB. TrialError if the trial was not run."""
        return _reached(self.result.memory_limit_bytes) / GB

    @property
    def step_time_s(self) -> float:
        """Median time of the measured steps, in seconds. TrialError without any."""
        return _reached(self.result.step_time_s)

    @property
    def update_time_s(self) -> float:
        """Median time for an update, with all its accumulated steps. TrialError without any."""
        return _reached(self.result.update_time_s)

    @property
    def tokens_per_second(self) -> float:
        """Trained, unmasked tokens per second in the measured steps. TrialError without any."""
        return _reached(self.result.tokens_per_second)

    @property
    def throughput_score(self) -> int:
        """Batch size × rank × adapted layers, without a unit. Known before the trial."""
        return self.config.throughput_score


def _reached(value: float | None) -> float:
    if value is None:
        raise TrialError("the trial ended before this was measured")
    return value

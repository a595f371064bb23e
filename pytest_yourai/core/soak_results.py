"""Results of soaks."""

from __future__ import annotations

from dataclasses import dataclass, field

from pytest_yourai.core.config import LoraConfig
from pytest_yourai.core.outcomes import Outcome, Overdue, WithOutcome


@dataclass(frozen=True, slots=True)
class SoakResult(WithOutcome):
    """Result of one soak. Bytes and seconds; None where it did not get far enough to be measured.

    `reason`, `remedy`, `warnings`, `conclusive`, `overdue`, `footprint_bytes` and
    `swap_growth_bytes` are as in a TrialResult. `asked_s` is how long it was to train, `duration_s`
    how long it did, from its first step on, without steps that compile. Growth per step is the
    robust slope over all others; of these `slowdown` is the median time per token of the last tenth
    over that of the first.
    """

    config: LoraConfig
    outcome: Outcome
    reason: str | None
    remedy: str | None
    warnings: tuple[str, ...]
    conclusive: bool
    asked_s: float
    duration_s: float
    steps: int
    peak_memory_bytes: int | None
    trial_peak_memory_bytes: int | None
    footprint_bytes: int | None
    active_growth_bytes_per_step: float | None
    footprint_growth_bytes_per_step: float | None
    slowdown: float | None
    first_tenth_step_time_s: float | None
    last_tenth_step_time_s: float | None
    swap_growth_bytes: int
    overdue: Overdue | None = None

    def rules_out(self, config: LoraConfig) -> bool:
        """True if it shows that `config` would not last either."""
        if self.success or config == self.config:
            return not self.success
        return self.prunes_larger and config.needs_at_least_as_much_as(self.config)


@dataclass
class Soak:
    """Value of the `soak` fixture: the soaks of one model, once the test was called."""

    item_id: str
    results: list[SoakResult] = field(default_factory=list)

    @property
    def survivor(self) -> SoakResult | None:
        """The first soak that succeeded; None if none has."""
        return next((each for each in self.results if each.success), None)

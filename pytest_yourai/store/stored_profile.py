"""A profile as it is read again, for comparisons, tables, pages, replays and training."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from pytest_yourai.core.answers import Answers, find_answers, headlined
from pytest_yourai.core.axes import Axis
from pytest_yourai.core.conditions import Environment, SweepSettings
from pytest_yourai.core.config import LoraConfig, Objective
from pytest_yourai.core.labels import ConfigLabels
from pytest_yourai.core.ranking import soak_survivors
from pytest_yourai.core.results import TrialResult
from pytest_yourai.core.soak_results import SoakResult
from pytest_yourai.store.data_rows import DataRow


@dataclass(frozen=True)
class StoredProfile:
    """One model's sweep. Its texts have no control characters and no secrets, but may have markup.

    `name` is that of its file, as it was given. `results` are in the file's order, with those of
    trials that were not run. `optimum` is the one that the file names, None if it says that
    nothing fits. `has_minima` is False if peaks stand in for minimum memory. `created_at` and
    `memory_limit_bytes` are None, `settings` and `environment` empty where the file lacks them;
    `data` is None for made-up rows.
    """

    name: str
    model: str
    results: Mapping[LoraConfig, TrialResult]
    optimum: TrialResult | None = None
    objective: Objective = Objective.SCORE
    complete: bool = True
    created_at: datetime.datetime | None = None
    memory_limit_bytes: int | None = None
    has_minima: bool = True
    settings: SweepSettings = field(default_factory=SweepSettings)
    environment: Environment = field(default_factory=Environment)
    data: DataRow | None = None
    soaks: tuple[SoakResult, ...] = ()
    others: tuple[TrialResult, ...] = ()
    """Other measurements of the same configurations, which do not count."""
    identity: str | None = None

    @cached_property
    def naming(self) -> ConfigLabels:
        """Labels of its configurations."""
        return ConfigLabels.of(self.results)

    @property
    def successes(self) -> list[TrialResult]:
        """The results that are ok."""
        return [each for each in self.results.values() if each.success]

    @cached_property
    def remaining(self) -> list[TrialResult]:
        """The results that no soak has ruled out; none where the file says that nothing fits."""
        if self.optimum is None:
            return []
        return soak_survivors(self.results.values(), self.soaks)

    @cached_property
    def answers(self) -> Answers:
        """The largest, fastest and leanest configuration."""
        return find_answers(self.remaining)

    @cached_property
    def headline(self) -> TrialResult | None:
        """The answer that comes first."""
        return headlined(self.answers, self.results.values(), self.objective)

    @cached_property
    def measured(self) -> Mapping[LoraConfig, TrialResult]:
        """The results of trials that were run."""
        return {config: each for config, each in self.results.items() if each.started}

    def measured_values(self, axis: Axis) -> tuple[Any, ...]:
        """All values of `axis` that were measured, ascending."""
        return tuple(sorted({axis.of(config) for config in self.measured}))

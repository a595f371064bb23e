"""Results of one stage of a run."""

from __future__ import annotations

from dataclasses import dataclass, field

from pytest_yourai.core.ranking import soak_survivors
from pytest_yourai.core.results import TrialResult
from pytest_yourai.core.soak_results import SoakResult
from pytest_yourai.core.verdict import Verdict
from pytest_yourai.plan.stages import Stage
from pytest_yourai.plan.sweep_plan import SweepContext
from pytest_yourai.sweep.stage_info import StageInfo


@dataclass
class StageResults:
    """Results of one stage so far. `selected` is the number of configurations to run."""

    stage: Stage
    selected: int = 0
    opened: StageInfo | None = None
    results: list[TrialResult] = field(default_factory=list)
    soaks: list[SoakResult] = field(default_factory=list)
    others: list[TrialResult] = field(default_factory=list)
    """Measurements that do not count, of configurations that were measured again."""
    verdicts: tuple[Verdict, ...] = ()
    """What measuring again says of regressions."""
    stopped: str | None = None

    @property
    def is_complete(self) -> bool:
        return len(self.results) >= self.selected

    @property
    def remaining(self) -> list[TrialResult]:
        """The results that no soak has ruled out."""
        return soak_survivors(self.results, self.soaks)

    @property
    def parameters(self) -> float | None:
        """The number in the model's name, else as the worker counted them."""
        if self.stage.parameters is not None or self.context is None:
            return self.stage.parameters
        return float(self.context.inspection.parameters)

    @property
    def context(self) -> SweepContext | None:
        return self.opened.context if self.opened else None

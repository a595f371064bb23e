"""Takes over what earlier runs of the same identity measured, and says what crashed the machine."""

from __future__ import annotations

import dataclasses
import functools
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from pytest_yourai.config import LoraConfig
from pytest_yourai.engine.protocol import DeviceInfo
from pytest_yourai.memory.budget import RESERVE_BYTES, Budget
from pytest_yourai.results import Outcome, TrialResult
from pytest_yourai.store.environment import Boot
from pytest_yourai.store.history import History, PastRun
from pytest_yourai.sweep_plan import SweepPlan

_MOST_ATTEMPTS = 2

_SETTLED = (
    Outcome.OK,
    Outcome.OVER_BUDGET,
    Outcome.OOM,
    Outcome.PAGING,
    Outcome.SAFETY_STOP,
    Outcome.MACHINE_CRASH,
)
"""What is kept. Other failures are run again: whatever was wrong may have been mended."""


@dataclass(frozen=True)
class Resumed:
    """`results` need not be measured again; `budget` is that of the run that is resumed."""

    results: Mapping[LoraConfig, TrialResult] = field(default_factory=dict)
    budget: Budget | None = None
    notes: tuple[str, ...] = ()


NOTHING_RESUMED = Resumed()


def resume(
    history: History, plan: SweepPlan, budget: Budget, device: DeviceInfo, boot: Boot
) -> Resumed:
    """What of `history` holds for `plan` on this machine.

    A detected budget differs with what else is running: the latest run's is taken over, unless
    memory has become scarcer by more than the reserve.
    """
    runs = [run for run in history.runs if _is_alike(run, plan, device)]
    earlier = _earlier_budget(runs, budget)
    budget = earlier or budget
    alike = [run for run in runs if run.budget_bytes == budget.limit_bytes]
    known = _known_results(alike, plan.source.name, budget.limit_bytes, boot)
    wanted = {config: result for config, result in known.items() if config in plan.configs}
    return Resumed(known, earlier, tuple(_notes(history, wanted, len(plan.configs))))


def _is_alike(run: PastRun, plan: SweepPlan, device: DeviceInfo) -> bool:
    here = dataclasses.asdict(device)
    changing = ("free_memory_bytes",)
    return dict(run.identity) == plan.identity and all(
        run.device.get(name) == value for name, value in here.items() if name not in changing
    )


def _earlier_budget(runs: list[PastRun], budget: Budget) -> Budget | None:
    if not budget.is_detected:
        return None
    for run in reversed(runs):
        if run.budget_is_detected and 0 < run.budget_bytes <= budget.limit_bytes + RESERVE_BYTES:
            return Budget(run.budget_bytes, "as in the run that is resumed", is_detected=True)
    return None


def _known_results(
    runs: list[PastRun], model: str, limit_bytes: int, boot: Boot
) -> dict[LoraConfig, TrialResult]:
    known: dict[LoraConfig, TrialResult] = {}
    attempts: Counter[LoraConfig] = Counter()
    unmeasured = functools.partial(TrialResult, model, memory_limit_bytes=limit_bytes)
    for run in runs:
        for config, result in run.results.items():
            known.pop(config, None)
            attempts.pop(config, None)
            if result.outcome in _SETTLED and result.started:
                known[config] = dataclasses.replace(result, kept=True)
        broken_off = run.unfinished
        if broken_off is None:
            continue
        attempts[broken_off] += 1
        if boot.is_later_than(run.boot_id, run.unfinished_at):
            known[broken_off] = unmeasured(broken_off, Outcome.MACHINE_CRASH, _MACHINE_CRASH)
        elif attempts[broken_off] >= _MOST_ATTEMPTS:
            known[broken_off] = unmeasured(broken_off, Outcome.CRASHED, _TWICE)
    return known


_MACHINE_CRASH = (
    "the machine went down, or was restarted, before its trial ended; choose a smaller "
    "configuration, or leave --yourai-resume out to try it again"
)
_TWICE = (
    "pytest was killed in it twice; find out by what, then leave --yourai-resume out, or resume "
    "once more"
)


def _notes(
    history: History, wanted: Mapping[LoraConfig, TrialResult], configurations: int
) -> Iterator[str]:
    if not wanted:
        yield f"{history.name} has nothing of this model, settings, budget and machine to resume"
    else:
        yield f"{len(wanted)} of {configurations} configurations are known from {history.name}"
    if history.unreadable_lines:
        yield f"{history.unreadable_lines} unreadable lines of {history.name} were skipped"

"""Takes over the results of earlier runs of the same identity, and finds what crashed them."""

from __future__ import annotations

import dataclasses
import itertools
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from pytest_yourai.core.config import LoraConfig
from pytest_yourai.core.device import DeviceInfo
from pytest_yourai.core.outcomes import Outcome
from pytest_yourai.core.results import TrialResult
from pytest_yourai.core.units import plural
from pytest_yourai.machine.budget import Budget
from pytest_yourai.machine.environment import Boot
from pytest_yourai.plan.sweep_plan import SweepContext, SweepPlan
from pytest_yourai.store.history import History, PastRun
from pytest_yourai.sweep.preflight import model_size

_MOST_ATTEMPTS = 2

_BUDGET_TOLERANCE = 1.05


@dataclass(frozen=True)
class ResumeState:
    """Trials that earlier runs spare a sweep; `budget` is that of the run that is resumed."""

    kept: Mapping[LoraConfig, TrialResult] = field(default_factory=dict)
    """Results that need not be measured again."""
    crashed: Mapping[LoraConfig, TrialResult] = field(default_factory=dict)
    """Trials that are not run again, because of how they ended."""
    budget: Budget | None = None
    notes: tuple[str, ...] = ()


def resume(history: History, plan: SweepPlan, here: SweepContext, boot: Boot) -> ResumeState:
    """The part of `history` that holds for `plan` on this machine.

    A detected budget differs with what else is running: that of the run with the most results is
    taken over, unless memory has become scarcer by more than 5 %.
    """
    alike = [run for run in history.runs if _is_alike(run, plan, here.device)]
    earlier = _earlier_budget(alike, plan, here)
    budget = earlier or here.budget
    size = model_size(here.inspection)
    kept: dict[LoraConfig, TrialResult] = {}
    crashed: dict[LoraConfig, TrialResult] = {}
    attempts: Counter[LoraConfig] = Counter()
    for run in alike:
        for config, result in run.results.items():
            attempts.pop(config, None)
            if run.budget_bytes == budget.limit_bytes:
                kept.pop(config, None)
                crashed.pop(config, None)
                if _is_settled(result, force=plan.force):
                    kept[config] = dataclasses.replace(result, kept=True, size=size)
        broken_off = run.unfinished
        if broken_off is None or not _holds_for(run, budget):
            continue
        attempts[broken_off] += 1
        if boot.is_later_than(run.boot_id, run.unfinished_at) and not _survived(run, history):
            end = _MACHINE_CRASH
        elif attempts[broken_off] >= _MOST_ATTEMPTS:
            end = _CRASHED_TWICE
        else:
            continue
        crashed[broken_off] = TrialResult(plan.source.name, broken_off, *end, started=False)
    kept = {config: result for config, result in kept.items() if config not in crashed}
    wanted = set(plan.tried(here.inspection, budget.limit_bytes))
    count = sum(config in wanted for config in kept)
    return ResumeState(kept, crashed, earlier, tuple(_notes(history, count)))


def _is_alike(run: PastRun, plan: SweepPlan, device: DeviceInfo) -> bool:
    here = dataclasses.asdict(device)
    del here["free_memory_bytes"]  # which changes
    return dict(run.identity) == plan.identity and all(
        run.device.get(name) == value for name, value in here.items()
    )


def _earlier_budget(runs: list[PastRun], plan: SweepPlan, here: SweepContext) -> Budget | None:
    if not here.budget.is_detected:
        return None
    results: Counter[int] = Counter()
    most = here.budget.limit_bytes * _BUDGET_TOLERANCE
    for run in reversed(runs):
        if run.budget_is_detected and 0 < run.budget_bytes <= most:
            wanted = set(plan.tried(here.inspection, run.budget_bytes))
            results[run.budget_bytes] += sum(
                _is_settled(result, force=plan.force) and config in wanted
                for config, result in run.results.items()
            )
    [(limit_bytes, count)] = results.most_common(1) or [(0, 0)]
    if not count:
        return None
    return Budget(limit_bytes, "as in the run that is resumed", is_detected=True)


def _is_settled(result: TrialResult, *, force: bool) -> bool:
    """True if it need not be run again; with force the guard stops nothing.

    What failed otherwise than for memory is run again: whatever was wrong may have been fixed.
    """
    if result.outcome is Outcome.SAFETY_STOP and force:
        return False
    return result.success or result.prunes_larger


def _holds_for(run: PastRun, budget: Budget) -> bool:
    """True if a failure of `run` holds for trials within `budget`."""
    both_detected = run.budget_is_detected and budget.is_detected
    return both_detected or 0 < run.budget_bytes <= budget.limit_bytes


def _survived(run: PastRun, history: History) -> bool:
    """True if a later process ran in the same boot, so that the machine did not go down."""
    later = itertools.dropwhile(lambda each: each is not run, history.runs)
    next(later)
    return run.boot_id is not None and any(
        each.boot_id == run.boot_id and each.pid != run.pid for each in later
    )


_MACHINE_CRASH = (
    Outcome.MACHINE_CRASH,
    "the machine went down, or was restarted, before its trial ended",
    "choose a smaller configuration, or leave --yourai-resume out to try it again",
)

_CRASHED_TWICE = (
    Outcome.CRASHED,
    "pytest was killed in it twice",
    "find out by what, then leave --yourai-resume out, or resume once more",
)


def _notes(history: History, kept: int) -> Iterator[str]:
    if kept:
        yield f"{plural(kept, 'result')} {'is' if kept == 1 else 'are'} kept from {history.name}"
    else:
        yield f"{history.name} has nothing of this model, settings, budget and machine to resume"
    if (count := history.unreadable_lines) > 0:
        lines, were = plural(count, "unreadable line"), "was" if count == 1 else "were"
        yield f"{lines} of {history.name} {were} skipped"

"""What a sweep makes of a trial, without a worker."""

from __future__ import annotations

import itertools
import json
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from pytest_yourai.core import signals
from pytest_yourai.core.config import LoraConfig
from pytest_yourai.core.device import DeviceInfo
from pytest_yourai.core.outcomes import Outcome
from pytest_yourai.core.results import TrialResult
from pytest_yourai.machine.budget import Budget
from pytest_yourai.models.source import Inspection
from pytest_yourai.plan.sweep_plan import SweepContext
from pytest_yourai.store.journal import EventLog, Journal, TaggedLog
from pytest_yourai.sweep import model_sweep
from pytest_yourai.sweep.model_sweep import Sweep
from pytest_yourai.worker.host import WorkerHost

from support.line_by_line import SignalAtLine
from support.profiles import GB, a_plan

ONE, TWO = (LoraConfig(batch, 8, 4, 64) for batch in (1, 2))


class Interrupted(BaseException):
    """What a timeout raises."""


def end_trials(monkeypatch: pytest.MonkeyPatch, end: TrialResult | BaseException) -> None:
    """Make all trials end in the same way, without a worker."""

    def run_trial(*_: object) -> TrialResult:
        if isinstance(end, BaseException):
            raise end
        return end

    monkeypatch.setattr(model_sweep, "run_trial", run_trial)


def a_sweep(
    monkeypatch: pytest.MonkeyPatch,
    end: TrialResult | BaseException,
    log: EventLog | None = None,
    on_result: Callable[[TrialResult], None] | None = None,
) -> Sweep:
    end_trials(monkeypatch, end)
    plan = a_plan("llama-8b", (ONE, TWO), memory_wait_s=0)
    device = DeviceInfo("cpu", "a processor", None, None, "0", "0")
    context = SweepContext(device, Inspection(8, 8 * GB, {}), Budget(20 * GB, "as given"))
    host = WorkerHost(plan.source, TaggedLog(), 1)
    return Sweep(plan, context, log or TaggedLog(), host, on_result=on_result)


def test_the_result_has_what_was_measured_and_what_the_sweep_knows(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    measured = TrialResult(
        "llama-8b", ONE, Outcome.OK, step_times_s=(0.5,), minimum_memory_bytes=GB
    )
    sweep = a_sweep(monkeypatch, measured)
    result = sweep.measure(ONE)
    assert (result.model, result.config, result.outcome) == ("llama-8b", ONE, Outcome.OK)
    assert (result.step_times_s, result.minimum_memory_bytes) == ((0.5,), GB)
    assert result.memory_limit_bytes == 20 * GB
    assert sweep.results == {ONE: result}
    assert sweep.measure(ONE) is result
    assert not sweep.is_measuring


def test_an_interrupted_trial_can_be_abandoned_once(monkeypatch: pytest.MonkeyPatch) -> None:
    sweep = a_sweep(monkeypatch, Interrupted())
    with pytest.raises(Interrupted):
        sweep.measure(ONE)
    assert sweep.is_measuring
    result = sweep.abandon_trial("no end after 5 s,")
    assert result.outcome is Outcome.TIMEOUT
    assert result.reason == "no end after 5 s, while starting the worker"
    assert sweep.results == {ONE: result}
    assert not sweep.is_measuring
    with pytest.raises(RuntimeError):
        sweep.abandon_trial("again")


def test_a_mistake_in_a_trial_leaves_nothing_that_is_measured(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sweep = a_sweep(monkeypatch, ZeroDivisionError())
    with pytest.raises(ZeroDivisionError):
        sweep.measure(ONE)
    assert not sweep.is_measuring
    assert sweep.results == {}


def test_an_interruption_that_nobody_took_up_is_not_that_of_the_next_trial(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sweep = a_sweep(monkeypatch, Interrupted())
    with pytest.raises(Interrupted):
        sweep.measure(ONE)
    end_trials(monkeypatch, TrialResult("llama-8b", TWO, Outcome.OOM, "no"))
    assert sweep.measure(TWO).outcome is Outcome.OOM
    assert not sweep.is_measuring


@pytest.mark.repeats
@pytest.mark.parametrize(
    ("sent", "step"), [(signal.SIGINT, 1), (signal.SIGTERM, 7), (signal.SIGHUP, 7)]
)
def test_at_no_line_the_journal_has_a_result_that_nobody_was_handed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, sent: signal.Signals, step: int
) -> None:
    monkeypatch.setattr(signals, "_IMPATIENCE_S", 0.0)
    installed = signals.Interrupts()
    installed.install()
    lines = ("sweep/model_sweep.py", "store/journal.py", "core/signals.py", "contextlib.py")
    end = TrialResult("llama-8b", ONE, Outcome.OK, step_times_s=(0.5,), minimum_memory_bytes=GB)
    try:
        for line in itertools.count(step=step):
            path, handed = tmp_path / f"{line}.jsonl", list[TrialResult]()
            journal = Journal(path)
            sweep = a_sweep(monkeypatch, end, journal, handed.append)
            at, was_interrupted = SignalAtLine(line, lines, sent), False
            try:
                with at:
                    sweep.measure(ONE)
            except KeyboardInterrupt:
                was_interrupted = True
            journal.close()
            assert was_interrupted is at.is_raised
            events = [json.loads(text)["event"] for text in path.read_text().splitlines()]
            assert events.count("trial_complete") == len(handed) == len(sweep.results)
            if not at.is_raised:
                assert len(handed) == 1
                assert line > 60
                return
    finally:
        installed.remove()

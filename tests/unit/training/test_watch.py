"""How training is asked to end, and by whom."""

from __future__ import annotations

import math
import os
import signal
import time

import pytest

from pytest_yourai.core.errors import CompileOverdueError, StopOverdueError
from pytest_yourai.core.signals import StopSignals
from pytest_yourai.machine.guard import Guard
from pytest_yourai.machine.system_memory import SystemMemory
from pytest_yourai.training import watch
from pytest_yourai.training.watch import WorkerRecord
from pytest_yourai.worker.protocol import Compiling

from support.training import a_step
from support.training_runs import Heard

GB = 1_000_000_000


def watching(signals: StopSignals, asked: list[str], budget_bytes: int = 20 * GB) -> WorkerRecord:
    guard = Guard(budget_bytes, SystemMemory(64 * GB, 32 * GB, 0), forced=False)
    guard.attach(os.getpid(), 0, has_own_memory=False)
    record = WorkerRecord(guard, 0, signals, Heard(), lambda: asked.append("stop"))
    record.started()
    return record


def interrupt() -> None:
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(0.01)


def test_before_the_first_step_a_signal_ends_it_at_once() -> None:
    with StopSignals(), pytest.raises(KeyboardInterrupt):
        interrupt()


def test_the_first_signal_asks_the_second_ends_and_a_third_changes_nothing() -> None:
    with StopSignals() as signals:
        signals.is_patient = True
        interrupt()
        assert signals.is_asked
        with pytest.raises(KeyboardInterrupt):
            interrupt()
        interrupt()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_the_handlers_of_before_come_back(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with StopSignals():
        assert signal.getsignal(number) != before
    assert signal.getsignal(number) == before


def test_the_worker_is_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    with StopSignals() as signals:
        signals.is_patient = True
        looking = watching(signals, asked)
        looking.check()
        assert asked == []
        interrupt()
        looking.check()
        looking.check()
        assert asked == ["stop"]
        assert looking.stop_reason == "it was interrupted"
        monkeypatch.setattr(watch, "LONGEST_WAIT_S", 0.0)
        with pytest.raises(StopOverdueError, match="did not end within 0 s"):
            looking.check()


def test_a_step_that_compiles_is_shown_and_has_a_limit() -> None:
    signals = StopSignals()
    signals.is_patient = True
    looking = watching(signals, [])
    looking.check()
    looking.add(Compiling())
    looking.check()
    assert isinstance(looking.progress, Heard)
    [(elapsed_s, limit_s)] = looking.progress.compiled
    assert 0 <= elapsed_s < limit_s == 900
    looking.compile_timeout_s = 0.0
    with pytest.raises(CompileOverdueError):
        looking.check()
    looking.add(a_step(1))
    looking.check()


def test_the_guard_asks_while_it_trains() -> None:
    asked: list[str] = []
    signals = StopSignals()
    signals.is_patient = True
    # This process holds more than the 0.2 GB that are tolerated beyond no budget at all.
    ballast = bytearray(300_000_000)
    looking = watching(signals, asked, budget_bytes=1)
    looking.check()
    assert asked == ["stop"]
    assert looking.stop_reason is not None
    assert looking.stop_reason.startswith("the guard stopped it: the worker held")
    del ballast


@pytest.mark.parametrize(("loss", "has_learned"), [(2.5, True), (math.nan, False), (0.0, False)])
def test_only_a_finite_loss_shows_that_the_weights_were_sound(
    loss: float, has_learned: bool
) -> None:
    with StopSignals() as signals:
        record = watching(signals, [])
        record.add(a_step(1, loss=loss))
        assert record.has_learned == has_learned

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from pytest_yourai.core import signals
from pytest_yourai.core.signals import Interrupts, deferred

from support.line_by_line import SignalAtLine


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_second_one_at_once_is_the_first_one(
    monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    earlier = signal.getsignal(number)
    installed = Interrupts()
    installed.install()
    try:
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), number)
        os.kill(os.getpid(), number)
        os.kill(os.getpid(), signal.SIGINT)
        monkeypatch.setattr(signals, "_IMPATIENCE_S", 0.0)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), number)
    finally:
        installed.remove()
    assert signal.getsignal(number) == earlier


def test_handlers_of_others_stay() -> None:
    def own(*_: object) -> None:
        pass

    earlier = signal.signal(signal.SIGTERM, own)
    installed = Interrupts()
    installed.install()
    assert signal.getsignal(signal.SIGTERM) is own
    installed.remove()
    signal.signal(signal.SIGTERM, earlier)


def test_outside_the_main_thread_the_handlers_stay() -> None:
    earlier = signal.getsignal(signal.SIGINT)
    installed = Interrupts()
    other = threading.Thread(target=installed.install)
    other.start()
    other.join()
    assert signal.getsignal(signal.SIGINT) == earlier


@pytest.fixture
def ours() -> Iterator[Interrupts]:
    installed = Interrupts()
    installed.install()
    yield installed
    installed.remove()


@pytest.mark.usefixtures("ours")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_what_is_deferred_is_done_as_a_whole_and_interrupted_then(number: signal.Signals) -> None:
    done: list[int] = []

    def do() -> None:
        with deferred():
            os.kill(os.getpid(), number)
            with deferred():
                done.append(1)
            done.append(2)

    with pytest.raises(KeyboardInterrupt):
        do()
    assert done == [1, 2]


def test_a_timeout_is_deferred_too() -> None:
    def fail(*_: object) -> None:
        raise TimeoutError

    def do() -> None:
        with deferred():
            signal.raise_signal(signal.SIGALRM)
            done.append(1)

    earlier = signal.signal(signal.SIGALRM, fail)
    done: list[int] = []
    try:
        with pytest.raises(TimeoutError):
            do()
        assert signal.getsignal(signal.SIGALRM) is fail
    finally:
        signal.signal(signal.SIGALRM, earlier)
    assert done == [1]


def test_what_is_ignored_stays_ignored_and_other_threads_defer_nothing() -> None:
    earlier = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with deferred():
            signal.raise_signal(signal.SIGHUP)
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, earlier)
    other = threading.Thread(target=_defer)
    other.start()
    other.join()


def _defer() -> None:
    with deferred():
        assert signal.getsignal(signal.SIGINT) in (signal.default_int_handler, signal.SIG_IGN)


@pytest.mark.usefixtures("ours")
@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_at_no_line_of_it_half_is_done_or_a_handler_lost(
    monkeypatch: pytest.MonkeyPatch, sent: signal.Signals
) -> None:
    monkeypatch.setattr(signals, "_IMPATIENCE_S", 0.0)
    for line in itertools.count():
        at, done = SignalAtLine(line, ("core/signals.py", "contextlib.py"), sent), []
        was_raised = False
        try:
            with at, deferred():
                done.append(1)
                done.append(2)
        except KeyboardInterrupt:
            was_raised = True
        assert was_raised is at.is_raised
        assert done in ([], [1, 2])
        for number in (signal.SIGINT, signal.SIGTERM):
            with pytest.raises(KeyboardInterrupt):
                signal.raise_signal(number)
        if not at.is_raised:
            assert line > 20
            return


def test_once_the_run_has_ended_nothing_is_raised(ours: Interrupts) -> None:
    ours.end()
    signal.raise_signal(signal.SIGINT)
    signal.raise_signal(signal.SIGTERM)


def test_whoever_is_impatient_then_ends_the_process_without_a_traceback() -> None:
    code = (
        "import signal, time\n"
        "from pytest_yourai.core import signals\n"
        "signals._IMPATIENCE_S = 0.0\n"
        "ours = signals.Interrupts()\n"
        "ours.install()\n"
        "ours.end()\n"
        "signal.raise_signal(signal.SIGINT)\n"
        "print('written', flush=True)\n"
        "signal.raise_signal(signal.SIGINT)\n"
        "print('not reached', flush=True)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (-signal.SIGINT, "written\n", "")


def test_where_the_end_takes_long_a_second_signal_ends_the_process(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(signals, "_IMPATIENCE_S", 0.0)
    raised: list[int] = []
    earlier = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    interrupts = Interrupts()
    interrupts.install()
    interrupts.end()
    try:
        os.kill(os.getpid(), signal.SIGTERM)
        monkeypatch.setattr(signal, "raise_signal", raised.append)
        assert not raised
        os.kill(os.getpid(), signal.SIGTERM)
        assert raised == [signal.SIGTERM]
        assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    finally:
        interrupts.remove()
        signal.signal(signal.SIGTERM, earlier)

from __future__ import annotations

import os
import signal
import threading

import pytest

from pytest_yourai.core import signals
from pytest_yourai.core.signals import Interrupts


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

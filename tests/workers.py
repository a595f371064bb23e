"""Faults that happen to a real worker, at a moment of a sweep that a test chooses."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Generator

import psutil
import pytest


def worker_processes() -> list[psutil.Process]:
    """This process's workers that live."""
    return [
        child
        for child in psutil.Process().children(recursive=True)
        if child.status() != psutil.STATUS_ZOMBIE
        and any("pytest_yourai.worker" in part for part in child.cmdline())
    ]


class SignalInTrial:
    """A pytest plugin that signals the worker a moment after the `number`th trial began."""

    def __init__(self, number: int, sent: signal.Signals, after_s: float = 0.3) -> None:
        self._number = number
        self._sent = sent
        self._after_s = after_s
        self._seen = 0

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_call(self) -> Generator[None, object, object]:
        self._seen += 1
        if self._seen == self._number:
            threading.Thread(target=self._strike, daemon=True).start()
        return (yield)

    def _strike(self) -> None:
        time.sleep(self._after_s)
        for worker in worker_processes():
            os.kill(worker.pid, self._sent)

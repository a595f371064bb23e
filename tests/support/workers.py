"""Faults that happen to a real worker, at a moment of a sweep that a test chooses."""

from __future__ import annotations

import abc
import os
import signal
import threading
import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

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


class AtTrial(abc.ABC):
    """A pytest plugin that does something when the `number`th trial begins."""

    def __init__(self, number: int) -> None:
        self._number = number
        self._seen = 0

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_call(self) -> Generator[None, object, object]:
        self._seen += 1
        if self._seen == self._number:
            self.strike()
        return (yield)

    @abc.abstractmethod
    def strike(self) -> None: ...


class SignalInTrial(AtTrial):
    """Signals the worker a moment after the trial began."""

    def __init__(self, number: int, sent: signal.Signals, after_s: float = 0.3) -> None:
        super().__init__(number)
        self._sent = sent
        self._after_s = after_s

    def strike(self) -> None:
        threading.Thread(target=self._send, daemon=True).start()

    def _send(self) -> None:
        time.sleep(self._after_s)
        for worker in worker_processes():
            os.kill(worker.pid, self._sent)


class AfterSteps:
    """A pytest plugin that does something once the `number`th trial has run some steps."""

    def __init__(self, number: int, steps: int, action: Callable[[], None]) -> None:
        self._number = number
        self._steps = steps
        self._action = action
        self._seen = 0

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Generator[None, object, object]:
        self._seen += 1
        if self._seen == self._number:
            hooks: Any = item.config.pluginmanager.getplugin("yourai-items")
            threading.Thread(target=self._wait, args=(hooks.sweep,), daemon=True).start()
        return (yield)

    def _wait(self, sweep: Any) -> None:
        while sweep._record is None or len(sweep._record.samples) < self._steps:
            time.sleep(0.001)
        self._action()


def confine(cgroup: Path) -> None:
    """Move the workers into a cgroup, which is charged with what they allocate from then on."""
    for worker in worker_processes():
        (cgroup / "cgroup.procs").write_text(str(worker.pid))


class ConfineInTrial(AtTrial):
    """Moves the worker into a cgroup, which is charged with what it allocates from then on."""

    def __init__(self, number: int, cgroup: Path) -> None:
        super().__init__(number)
        self._cgroup = cgroup

    def strike(self) -> None:
        confine(self._cgroup)

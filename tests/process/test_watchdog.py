"""What the watchdog of a rank does where the agent is stopped."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import psutil
import pytest

from support.processes import is_gone, started, wait_for

PARENT = """
import os, subprocess, sys, time
from pytest_yourai.worker.watched_process import WatchedProcess
child = [sys.executable, "-ISc", "import time; time.sleep(600)"]
watched = WatchedProcess(child, os.environ, is_never_stopped=sys.argv[1] == "never")
print(watched.popen.pid, flush=True)
time.sleep(600)
"""


@pytest.mark.parametrize("is_never_stopped", [True, False])
def test_a_parent_that_is_stopped_ends_only_where_it_never_is(
    tmp_path: Path, is_never_stopped: bool
) -> None:
    stops = "never" if is_never_stopped else "sometimes"
    with started([sys.executable, "-c", PARENT, stops], tmp_path) as process:
        assert process.stdout is not None
        both = [psutil.Process(int(process.stdout.readline())), psutil.Process(process.pid)]
        process.send_signal(signal.SIGSTOP)
        if is_never_stopped:
            wait_for(lambda: all(map(is_gone, both)), 30)
            return
        with pytest.raises(psutil.TimeoutExpired):
            both[0].wait(4)
        assert both[1].status() == psutil.STATUS_STOPPED
        process.send_signal(signal.SIGCONT)

"""`python -I -S watchdog.py FD MARK FOLDER [never-stopped]`: ends a worker, and what it started.

It waits for the end of a pipe that only the worker's parent holds. With `never-stopped` it also
ends a parent that has been stopped for two seconds: that of a rank, for which others wait. The
worker and its descendants are known by MARK, NAME=VALUE in their environment, whatever their
session and their parents, and are killed, so that being stopped keeps none alive. FOLDER is where
psutil is installed; it is imported when it is needed, so that a watchdog starts in milliseconds.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import time

_ROUNDS = 50

_PAUSE_S = 0.01
"""Between two rounds: until a killed process has gone, and one that it started is seen."""

_LOOK_S = 0.5

_LOOKS = 4
"""A debugger, or what stops all processes of a job, stops one for less."""


def end_marked(mark: str) -> None:
    """Kill all processes of this user that inherited `mark`, NAME=VALUE, until none is left."""
    for _ in range(_ROUNDS):
        if not _kill_marked(mark):
            return
        time.sleep(_PAUSE_S)


def _kill_marked(mark: str) -> bool:
    """True if there was one."""
    import psutil  # noqa: PLC0415 - may be needed in hours

    found = False
    name, _, value = mark.partition("=")
    for process in psutil.process_iter():
        # What has ended, and what is another user's, has no environment to read.
        with contextlib.suppress(psutil.Error, OSError):
            if process.environ().get(name) == value and process.uids().real == os.getuid():
                process.kill()
                found = True
    return found


def _end_stopped_parent(descriptor: int) -> None:
    """Wait for the end of the pipe `descriptor`; kill a parent that is stopped meanwhile."""
    import psutil  # noqa: PLC0415 - most watchdogs do without

    parent, looks = psutil.Process(os.getppid()), 0
    while not select.select([descriptor], [], [], _LOOK_S)[0]:
        with contextlib.suppress(psutil.Error):
            looks = looks + 1 if parent.status() == psutil.STATUS_STOPPED else 0
            if looks >= _LOOKS:
                parent.kill()


def main() -> None:
    descriptor, mark, folder, *never_stopped = sys.argv[1:]
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    sys.path.append(folder)
    if never_stopped:
        _end_stopped_parent(int(descriptor))
    while os.read(int(descriptor), 1):
        pass
    end_marked(mark)


if __name__ == "__main__":
    main()

"""A process that ends with its parent, however that ends, and with it all that it started."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import secrets
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from pytest_yourai.core import worker_variables
from pytest_yourai.core.errors import WorkerError
from pytest_yourai.worker import watchdog
from pytest_yourai.worker.watchdog import end_marked


class WatchedProcess:
    """`command` in a session and process group of its own, and its watchdog.

    Constructing it starts both and waits for neither. OSError where the system refuses one,
    WorkerError where psutil is not installed. It has the descriptors `pass_fds`, `stdin` and
    `stderr` as of Popen, and a pipe as its stdout. Where this process `is_never_stopped` but by
    mistake, the watchdog ends it, too, once it has been for two seconds.
    """

    def __init__(
        self,
        command: Sequence[str],
        environment: Mapping[str, str],
        *,
        pass_fds: Sequence[int] = (),
        stdin: int = subprocess.DEVNULL,
        stderr: int = subprocess.PIPE,
        is_never_stopped: bool = False,
    ) -> None:
        mark = secrets.token_hex(16)
        self._mark = f"{worker_variables.MARK}={mark}"
        watched, self._held_fd = os.pipe()
        try:
            self._watchdog = _start_watchdog(watched, self._mark, is_never_stopped=is_never_stopped)
            self.popen = subprocess.Popen(
                command,
                stdin=stdin,
                stdout=subprocess.PIPE,
                stderr=stderr,
                pass_fds=pass_fds,
                env={**environment, worker_variables.MARK: mark},
                start_new_session=True,
            )
        except BaseException:
            # Of a watchdog this is the end, too.
            os.close(self._held_fd)
            raise
        finally:
            os.close(watched)

    @property
    def is_ended(self) -> bool:
        """True once `end` has been called."""
        return self._held_fd < 0

    def kill_group(self) -> None:
        """Kill what is in its group; once its status was read, that number may be another's."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.popen.pid, signal.SIGKILL)

    def end(self) -> None:
        """Kill all that it started, in whatever group, and the watchdog. It has been reaped."""
        if self.is_ended:
            return
        end_marked(self._mark)
        self._watchdog.kill()
        self._watchdog.wait()
        os.close(self._held_fd)
        self._held_fd = -1
        for stream in (self.popen.stdin, self.popen.stdout, self.popen.stderr):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()


def _start_watchdog(watched: int, mark: str, *, is_never_stopped: bool) -> subprocess.Popen[bytes]:
    """Start one that waits for the end of the pipe `watched`, and then ends what has `mark`.

    In a session of its own: a signal to the parent's group leaves it alone.
    """
    found = importlib.util.find_spec("psutil")
    if found is None or found.origin is None:
        raise WorkerError("the worker process cannot be started: psutil is not installed")
    return subprocess.Popen(
        [sys.executable, "-I", "-S", watchdog.__file__, str(watched), mark]
        + [str(Path(found.origin).parent.parent), *(["never-stopped"] if is_never_stopped else [])],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        pass_fds=(watched,),
        start_new_session=True,
        cwd="/",
    )

"""The host, with real workers that cannot start or hang before the first trial."""

from __future__ import annotations

import errno
import os
import subprocess
import time
from collections.abc import Callable
from typing import Any

import pytest

from pytest_yourai.core.errors import InputError
from pytest_yourai.models.source import ModelSource
from pytest_yourai.store.journal import TaggedLog
from pytest_yourai.worker.host import WorkerHost
from pytest_yourai.worker.process import BOOTSTRAP

from support.models import TINY
from support.processes import SweepRun, worker_processes

SOURCE = ModelSource("tiny", TINY, None, True, None, ("qkvo",))


@pytest.mark.timeout(120)
def test_an_inspection_that_hangs_is_given_up_at_the_limit(
    faulty_worker: Callable[[str], None],
) -> None:
    # While it hangs the worker goes on sending what MLX holds.
    faulty_worker("hang@inspect")
    host = WorkerHost(SOURCE, TaggedLog(), start_timeout_s=8)
    began = time.monotonic()
    expected = "cannot run: the worker gave no answer for 8 s; .* raise --yourai-timeout"
    with pytest.raises(InputError, match=expected):
        host.inspect(None)
    assert 8 <= time.monotonic() - began < 60
    assert worker_processes() == []


@pytest.mark.usefixtures("cold_workers")
def test_a_process_that_the_system_refuses_is_oom(
    sweep: SweepRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    start, started = subprocess.Popen, []

    def refuse_the_second(command: Any, **arguments: Any) -> Any:
        if str(BOOTSTRAP) in command:
            started.append(command)
            if len(started) == 2:
                raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))
        return start(command, **arguments)

    monkeypatch.setattr(subprocess, "Popen", refuse_the_second)
    done = sweep("--yourai-isolation", "trial")
    assert done.outcomes == ["ok", "oom", "skipped"]
    assert done.rows[1]["error"].startswith("out of memory ")
    assert "the worker process cannot be started" in done.rows[1]["error"]
    done.run.assert_outcomes(passed=1, xfailed=1, skipped=1)

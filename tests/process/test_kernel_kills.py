"""Processes that the kernel kills for lack of memory, or that are ending, in real containers."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pytest_yourai.machine.cgroup import MemoryCgroup
from pytest_yourai.machine.guard import Guard
from pytest_yourai.machine.system_memory import read_system_memory

GB = 1_000_000_000


def test_a_real_kill_is_counted(small_cgroup: Path) -> None:
    found = MemoryCgroup((small_cgroup,))
    assert found.limit_bytes() is not None
    assert 90_000_000 < (found.available_bytes() or 0) <= (found.limit_bytes() or 0)
    join = f"open({str(small_cgroup / 'cgroup.procs')!r}, 'w').write('0')"
    code = f"{join}; x = bytearray(300_000_000)"
    done = subprocess.run([sys.executable, "-c", code], check=False)
    assert done.returncode == -9
    assert found.oom_kills() == 1


@pytest.mark.skipif(sys.platform != "linux", reason="no cgroups")
def test_a_real_process_that_was_killed_and_not_yet_waited_for_has_none() -> None:
    child = subprocess.Popen(["sleep", "60"])
    assert MemoryCgroup.of(child.pid) is not None
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert MemoryCgroup.of(child.pid) is None
    child.wait()


def test_only_kills_since_the_trial_began_count_in_whatever_container(small_cgroup: Path) -> None:
    eater = _eater(small_cgroup)
    assert _eat(eater) == -signal.SIGKILL
    eater = _eater(small_cgroup)
    guard = Guard(GB, read_system_memory(), forced=False)
    guard.attach(eater.pid, 0, has_own_memory=False)
    guard.read_system()
    assert guard.trace.oom_kills == 0
    assert _eat(eater) == -signal.SIGKILL
    guard.read_system()
    assert guard.trace.oom_kills == 1


def _eater(cgroup: Path) -> subprocess.Popen[bytes]:
    """A process in `cgroup` that waits for a line, and then takes 200 MB."""
    code = "import sys; sys.stdin.readline(); bytearray(b'1') * 200_000_000"
    eater = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE)
    (cgroup / "cgroup.procs").write_text(str(eater.pid))
    return eater


def _eat(eater: subprocess.Popen[bytes]) -> int:
    eater.communicate(b"\n")
    return eater.returncode

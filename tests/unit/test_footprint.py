from __future__ import annotations

import ctypes
import os
import resource
import subprocess
import sys

import psutil
import pytest

from pytest_yourai.machine import process_memory
from pytest_yourai.machine.process_memory import (
    ResourceUsage,
    address_space_limit_bytes,
    read_process_memory,
)


def test_on_linux_it_is_resident_memory_and_address_space() -> None:
    if sys.platform != "linux":
        pytest.skip("needs Linux")
    found = read_process_memory(os.getpid())
    assert found is not None
    usual = psutil.Process().memory_info()
    assert found.footprint_bytes == pytest.approx(usual.rss, rel=0.05)
    assert found.address_space_bytes == pytest.approx(usual.vms, rel=0.05)


def test_it_grows_with_what_is_used() -> None:
    before = read_process_memory(os.getpid())
    used = bytearray(os.urandom(1)) * 80_000_000
    after = read_process_memory(os.getpid())
    assert before is not None
    assert after is not None
    assert 70_000_000 < after.footprint_bytes - before.footprint_bytes < 120_000_000
    del used


def test_a_process_that_is_gone_has_none() -> None:
    done = subprocess.Popen([sys.executable, "-c", ""])
    done.wait()
    assert read_process_memory(done.pid) is None


# rusage_info_v0 of a process of 12 345 678 912 bytes, laid out as <sys/resource.h> says.
RECORDED = (
    bytes(range(16))
    + b"".join(
        number.to_bytes(8, "little")
        for number in (11, 22, 33, 44, 55, 66, 3_000_000_000, 12_345_678_912, 77, 0)
    )
)  # fmt: skip


class RecordedLibproc:
    """Answers as macOS's proc_pid_rusage does: 0 and the structure, or -1."""

    def proc_pid_rusage(self, pid: int, flavor: int, buffer: object) -> int:
        assert flavor == 0
        if pid != 4711:
            return -1
        ctypes.memmove(buffer, RECORDED, len(RECORDED))  # type: ignore[arg-type]
        return 0


def test_on_macos_it_is_the_physical_footprint(monkeypatch: pytest.MonkeyPatch) -> None:
    assert ctypes.sizeof(ResourceUsage) == len(RECORDED)
    monkeypatch.setattr(process_memory, "_libproc", RecordedLibproc)
    found = read_process_memory(4711, platform="darwin")
    assert found is not None
    assert found.footprint_bytes == 12_345_678_912
    assert found.address_space_bytes is None
    assert read_process_memory(4712, platform="darwin") is None


def test_on_a_mac_this_process_has_one() -> None:
    if sys.platform != "darwin":
        pytest.skip("needs a Mac")
    found = read_process_memory(os.getpid())
    assert found is not None
    assert 1_000_000 < found.footprint_bytes < 100_000_000_000


def test_the_address_space_limit_is_the_processes_own() -> None:
    assert address_space_limit_bytes() is None
    code = (
        "import resource; resource.setrlimit(resource.RLIMIT_AS, (5 * 10**9,) * 2); "
        "from pytest_yourai.machine.process_memory import address_space_limit_bytes as limit; "
        "print(limit())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "5000000000\n"
    assert resource.getrlimit(resource.RLIMIT_AS)[0] == resource.RLIM_INFINITY

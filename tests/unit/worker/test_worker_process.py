"""The environment, the limits and the heap of a worker."""

from __future__ import annotations

import platform
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from pytest_yourai.core.paths import PACKAGE
from pytest_yourai.worker.process import worker_environment


def test_a_worker_joins_no_group_and_reads_utf_8() -> None:
    parents = {
        "MLX_RANK": "0",
        "NCCL_HOST_IP": "127.0.0.1",
        "PMIX_RANK": "0",
        "MLX_MPI_LIBNAME": "libmpi.so",
        "OMP_NUM_THREADS": "2",
        "PYTHONPATH": "/project:/packages",
        "PYTHONUTF8": "0",
    }
    found = worker_environment(parents)
    assert found["PYTHONUTF8"] == "1"
    assert found["OMP_NUM_THREADS"] == "2"
    assert found["YOURAI_PYTHONPATH"] == "/project:/packages"
    assert not Path(found["MLX_MPI_LIBNAME"]).exists()
    assert not found.keys() & {"MLX_RANK", "NCCL_HOST_IP", "PMIX_RANK", "PYTHONPATH"}


def limits_raised_under(soft: int, hard: int) -> tuple[int, int]:
    """The limits of open files of a process that began with `soft` and `hard`."""
    code = (
        "import resource; from pytest_yourai.worker.__main__ import raise_limits;"
        f"resource.setrlimit(resource.RLIMIT_NOFILE, ({soft}, {hard})); raise_limits();"
        "print(*resource.getrlimit(resource.RLIMIT_NOFILE))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        check=True,
        text=True,
        cwd=PACKAGE.parent,
    )
    found, most = map(int, done.stdout.split())
    return found, most


def test_open_files_are_raised_as_far_as_they_go() -> None:
    assert limits_raised_under(256, 1024) == (1024, 1024)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    raised, _ = limits_raised_under(256, hard)
    assert raised >= min(hard, 65_536) if hard > 0 else raised >= 256


_ROUNDS = """
import resource, sys
from pytest_yourai.worker.__main__ import keep_freed_memory
if sys.argv[1:]:
    keep_freed_memory()
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
def work():
    return len([b"x" * 100_000 for _ in range(200)])
work()
before = faults()
for _ in range(10):
    work()
print(faults() - before)
"""


def faults_of_ten_rounds(*arguments: str) -> int:
    command = [sys.executable, "-c", _ROUNDS, *arguments]
    done = subprocess.run(command, capture_output=True, check=True, text=True, cwd=PACKAGE.parent)
    return int(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="it is glibc that gives memory back")
def test_what_one_step_freed_the_next_one_has_at_hand() -> None:
    pages = 10 * 200 * 100_000 // resource.getpagesize()
    assert faults_of_ten_rounds() > pages / 2
    assert faults_of_ten_rounds("keep") < pages / 20

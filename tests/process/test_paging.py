"""A trial whose steps become slow while the machine swaps: it fits on paper only."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from support.faults import Judge
from support.models import make_heavy_config
from support.processes import ConfineInTrial, SweepRun, confine, held_worker, wait_for

pytestmark = [pytest.mark.real_engine, pytest.mark.alone]

SWAP_BYTES = 1_000_000_000


@pytest.fixture
def swap(tmp_path: Path) -> Iterator[Path]:
    """A swap file, where this machine lets us add one."""
    path = tmp_path / "swap"
    tools = [shutil.which(name, path="/sbin:/usr/sbin") for name in ("mkswap", "swapon", "swapoff")]
    if not all(tools):
        pytest.skip("no swap can be added here")
    make, on, off = map(str, tools)
    with path.open("wb") as file:
        for _ in range(SWAP_BYTES // 10_000_000):
            file.write(bytes(10_000_000))
    path.chmod(0o600)
    for command in (make, on):
        if subprocess.run([command, str(path)], capture_output=True, check=False).returncode:
            pytest.skip("no swap can be added here")
    yield path
    subprocess.run([off, str(path)], check=True)
    path.unlink()


@pytest.fixture
def slow_disk(swap: Path) -> Iterator[Callable[[], None]]:
    """Makes the workers read the swap file's disk at 300 MB a second, where this machine can."""
    folder = Path("/sys/fs/cgroup/blkio") / f"yourai-test-{os.getpid()}"
    device = swap.stat().st_dev
    try:
        folder.mkdir()
        rate = f"{os.major(device)}:{os.minor(device)} 300000000"
        (folder / "blkio.throttle.read_bps_device").write_text(rate)
    except OSError:
        pytest.skip("no disk can be slowed down here")
    yield lambda: confine(folder)
    folder.rmdir()


def set_limit(cgroup: Path, limit_bytes: int) -> None:
    """The kernel refuses while it cannot take back enough at once."""
    names = ("memory.limit_in_bytes", "memory.max")
    path = next(cgroup / name for name in names if (cgroup / name).exists())

    def is_set() -> bool:
        try:
            path.write_text(str(limit_bytes))
        except OSError:
            return False
        return True

    wait_for(is_set)


def test_a_step_time_cliff_with_swap_growth_is_paging(
    pytester: pytest.Pytester,
    sweep: SweepRun,
    faulty_worker: Callable[[str], None],
    small_cgroup: Path,
    slow_disk: Callable[[], None],
    judge: Judge,
) -> None:
    # 410 MB of weights, all of which each short step reads; then memory becomes scarce.
    make_heavy_config(pytester.path / "heavy")
    set_limit(small_cgroup, 2_000_000_000)
    faulty_worker("hold@measure")

    def make_memory_scarce() -> None:
        with held_worker():
            slow_disk()
            set_limit(small_cgroup, 200_000_000)

    arguments = ("--yourai-force", "--yourai-seq-length", "4")
    with ThreadPoolExecutor(1) as pool:
        scarcity = pool.submit(make_memory_scarce)
        done = sweep(*arguments, model="heavy", steps=3, plugins=(ConfineInTrial(1, small_cgroup),))
        scarcity.result()
    judge("steps slow down while the machine swaps", done, ["ok", "paging", "skipped"])
    row = done.rows[1]
    assert "swap grew by " in row["error"]
    assert row["swap_growth_bytes"] > 50_000_000
    done.run.assert_outcomes(passed=1, xfailed=1, skipped=1)

"""A trial whose steps become slow while the machine swaps: it fits on paper only."""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from faults import Judge
from made_models import TINY
from sweep_runs import SweepRun
from workers import AfterSteps, ConfineInTrial

SWAP_BYTES = 1_500_000_000


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


def set_limit(cgroup: Path, limit_bytes: int) -> None:
    for name in ("memory.limit_in_bytes", "memory.max"):
        if (cgroup / name).exists():
            with contextlib.suppress(OSError):
                (cgroup / name).write_text(str(limit_bytes))


def test_a_step_time_cliff_with_swap_growth_is_paging(
    pytester: pytest.Pytester, sweep: SweepRun, small_cgroup: Path, swap: Path, judge: Judge
) -> None:
    # 410 MB of weights, all of which each short step reads; then memory becomes scarce.
    folder = pytester.path / "wordy"
    folder.mkdir()
    (folder / "config.json").write_text(
        json.dumps({**TINY, "hidden_size": 512, "vocab_size": 100_000, "num_hidden_layers": 2})
    )
    set_limit(small_cgroup, 2_000_000_000)
    plugins = (
        ConfineInTrial(1, small_cgroup),
        AfterSteps(2, 4, partial(set_limit, small_cgroup, 60_000_000)),
    )
    arguments = ("--yourai-force", "--yourai-seq-length", "4")
    done = sweep(*arguments, model="wordy", steps=4, plugins=plugins)
    judge("steps slow down while the machine swaps", done, ["ok", "paging", "skipped"])
    row = done.rows[1]
    assert row["error"].startswith("swap grew by ")
    assert row["swap_growth_bytes"] > 50_000_000
    done.run.assert_outcomes(passed=1, xfailed=1, skipped=1)

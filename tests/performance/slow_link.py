"""Do steps of two hosts over a slow link take what is predicted of one machine?

python tests/performance/slow_link.py [--gbit 1] [--rank 256,1024]

`tiny` on two hosts of this machine (namespaces with an sshd each, so it needs root) whose link is
slowed, by the CPU's ring, against the prediction from half the batch alone and the speed of the
link. Steps are within 15 %. Each host has one of this machine's two processors. Alone means on one,
while the other does the same.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import psutil

from _common import ROOT, pytest_command, read_profile, table, verdict

sys.path.insert(0, str(ROOT / "tests"))
from pytest_yourai.core.hosts import DistributedBackend
from pytest_yourai.estimate.data_parallel import link_of, sum_time_s, together_time_s

from support.rank_faults import engine_variables
from support.two_hosts import two_hosts

TOLERANCE = 0.15
BATCHES = (2, 4, 8)
MOST_S = 400


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gbit", type=float, default=1.0)
    parser.add_argument("--rank", default="256,1024")
    asked = parser.parse_args()
    ranks = f"--yourai-rank={asked.rank}"
    link = link_of(DistributedBackend.RING, is_here=False, gbit=asked.gbit)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        alone = measured_alone(folder / "alone", ranks)
        together = measured_together(folder / "together", ranks, asked.gbit)
    rows = []
    for (batch, rank), row in together.items():
        half_s = alone[(batch // 2, rank)]["step_time_ms"] / 1e3
        sum_s = sum_time_s(row["all_sum_bytes"], 2, link)
        predicted_s, step_s = together_time_s(half_s, sum_s, 2), row["step_time_ms"] / 1e3
        off = predicted_s / step_s - 1
        rows.append(
            [f"{batch}", f"{rank}", f"{row['all_sum_bytes'] / 1e6:.2f}", f"{half_s * 1e3:.1f}"]
            + [f"{sum_s * 1e3:.1f}", f"{row['all_sum_time_s'] * 1e3:.1f}"]
            + [f"{predicted_s * 1e3:.1f}", f"{step_s * 1e3:.1f}", f"{off:+.1%}"]
            + [verdict(abs(off) <= TOLERANCE)]
        )
    table(
        ["batch", "rank", "gradients MB", "half alone ms", "sum ms", "timed ms", "predicted ms"]
        + ["step ms", "", f"≤ {TOLERANCE:.0%}"],
        rows,
    )


def measured_alone(folder: Path, ranks: str) -> dict[tuple[int, int], dict[str, Any]]:
    """One sweep on each processor at once: two hosts share what these share, such as a cache."""
    sizes = ",".join(str(batch // 2) for batch in BATCHES)
    folders = [folder / str(processor) for processor in range(2)]
    running = []
    for processor, each in enumerate(folders):
        each.mkdir(parents=True)
        command = ["taskset", "-c", str(processor), *pytest_command(*_flags(sizes, ranks))]
        running.append(subprocess.Popen(command, cwd=each, stdout=subprocess.DEVNULL))
    if any(process.wait(MOST_S) for process in running):
        sys.exit("a sweep of one process failed")
    first, second = map(_rows, folders)
    slower = (max(first[key], second[key], key=lambda row: row["step_time_ms"]) for key in first)
    return dict(zip(first, slower, strict=True))


def measured_together(
    folder: Path, ranks: str, gbit: float
) -> dict[tuple[int, int], dict[str, Any]]:
    folder.mkdir()
    with two_hosts(folder / "hosts", engine_variables(None)) as hosts:
        for processor, host in enumerate(hosts.hosts):
            first = psutil.Process(host.first_pid)
            for process in (first, *first.children()):
                process.cpu_affinity([processor])
        hosts.slow_down(f"{round(gbit * 1000)}mbit")
        sizes = ",".join(map(str, BATCHES))
        flags = _flags(sizes, ranks)
        command = [*pytest_command(*flags), f"--yourai-hosts={hosts.hostfile}"]
        done = subprocess.run(
            hosts.desk.command(*command, folder=folder),
            capture_output=True,
            text=True,
            check=False,
            timeout=MOST_S,
            env={**os.environ, **hosts.environment, **hosts.variables},
        )
    if done.returncode:
        sys.exit(done.stdout + done.stderr)
    return _rows(folder)


def _flags(sizes: str, ranks: str) -> list[str]:
    fixed = ("--yourai-num-layers=4", "--yourai-search=exhaustive")
    return ["--yourai-model=tiny", f"--yourai-batch-size={sizes}", ranks, *fixed]


def _rows(folder: Path) -> dict[tuple[int, int], dict[str, Any]]:
    rows = read_profile(folder)["all_results"]
    return {(row["batch_size"], row["lora_rank"]): row for row in rows if row["outcome"] == "ok"}


if __name__ == "__main__":
    main()

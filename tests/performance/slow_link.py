"""Do steps of several hosts over slow links take what is predicted of one machine?

python tests/performance/slow_link.py [--hosts 2] [--gbit 1] [--rank 256,1024] [--rounds 2]

`tiny` on hosts of this machine (namespaces with an sshd each, so it needs root) whose links are
slowed, by the CPU's ring, against the prediction from a host's share alone and the speed of the
link. Steps are within 15 %. All hosts together have half of the processors, each a part of one,
which its cgroup gives it before others; their ring waits without a processor. Alone means on one
host, while all others do the same. Alone and together take turns; times are medians of the rounds.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shlex
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil

from _common import ROOT, pytest_command, read_profile, table, verdict

sys.path.insert(0, str(ROOT / "tests"))
from pytest_yourai.core.hosts import DistributedBackend
from pytest_yourai.estimate.data_parallel import link_of, sum_time_s, together_time_s

from support.cgroups import made_slow_cgroup
from support.hosts import Host, Hosts, made_hosts
from support.rank_faults import engine_variables

TOLERANCE = 0.15
SHARES = (1, 4)
"""Rows on each host."""
USED = 0.5
"""Of the processors; the rest is for what measures the hosts, and for other users."""
MOST_S = 400

Row = dict[str, Any]
Key = tuple[int, int]
"""Batch size and rank."""


def main() -> None:
    asked = parsed()
    ranks = f"--yourai-rank={asked.rank}"
    alone: list[list[dict[Key, Row]]] = []
    together: list[dict[Key, Row]] = []
    with tempfile.TemporaryDirectory() as name, slow_hosts(Path(name), asked) as hosts:
        for number in range(asked.rounds):
            folder = Path(name) / f"{number}"
            alone.append(measured_alone(hosts, folder / "alone", ranks))
            together.append(measured_together(hosts, folder / "together", ranks))
    table(
        ["batch", "rank", "gradients MB", "share alone ms", "sum ms", "timed ms", "predicted ms"]
        + ["step ms", "rounds", "factor", "", f"≤ {TOLERANCE:.0%}"],
        [judged(asked, key, alone, together) for key in together[0]],
    )
    print("share alone: median and largest; factor: of the step without its predicted sum to that")


def judged(
    asked: argparse.Namespace,
    key: Key,
    alone: Sequence[Sequence[Mapping[Key, Row]]],
    together: Sequence[Mapping[Key, Row]],
) -> list[str]:
    batch, rank = key
    shares_s = [
        step_s(rows[batch // asked.hosts, rank]) for one_round in alone for rows in one_round
    ]
    alone_s = statistics.median(shares_s)
    link = link_of(DistributedBackend.RING, is_here=False, gbit=asked.gbit)
    gradient_bytes = together[0][key]["all_sum_bytes"]
    sum_s = sum_time_s(gradient_bytes, asked.hosts, link)
    timed_s = statistics.median(rows[key]["all_sum_time_s"] for rows in together)
    predicted_s = together_time_s(alone_s, sum_s, asked.hosts, on_cuda=False)
    times_s = [step_s(rows[key]) for rows in together]
    took_s = statistics.median(times_s)
    off = predicted_s / took_s - 1
    return (
        [f"{batch}", f"{rank}", f"{gradient_bytes / 1e6:.2f}"]
        + [f"{alone_s * 1e3:.0f}, {max(shares_s) * 1e3:.0f}"]
        + [f"{each * 1e3:.1f}" for each in (sum_s, timed_s, predicted_s, took_s)]
        + [f"{min(times_s) * 1e3:.0f}-{max(times_s) * 1e3:.0f}"]
        + [f"{(took_s - sum_s) / alone_s:.2f}", f"{off:+.1%}", verdict(abs(off) <= TOLERANCE)]
    )


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hosts", type=int, default=2)
    parser.add_argument("--gbit", type=float, default=1.0)
    parser.add_argument("--rank", default="256,1024")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--used", type=float, default=USED, help="part of all processors")
    return parser.parse_args()


@contextlib.contextmanager
def slow_hosts(folder: Path, asked: argparse.Namespace) -> Iterator[Hosts]:
    """Hosts with as much of a processor each, and links of that speed."""
    processors = sorted(os.sched_getaffinity(0))
    with contextlib.ExitStack() as stack:
        share = asked.used * min(1.0, len(processors) / asked.hosts)
        # Before the hosts: they are empty only when these have ended.
        cgroups = [
            stack.enter_context(made_slow_cgroup(f"host-{number}", share))
            for number in range(asked.hosts)
        ]
        variables = engine_variables("support.patient_engine:PatientEngine")
        hosts = stack.enter_context(made_hosts(folder / "hosts", variables, count=asked.hosts))
        for number, host in enumerate(hosts.hosts):
            for process in of(host):
                process.cpu_affinity([processors[number % len(processors)]])
                (cgroups[number] / "cgroup.procs").write_text(f"{process.pid}")
        hosts.slow_down(f"{round(asked.gbit * 1000)}mbit")
        yield hosts


def of(host: Host) -> list[psutil.Process]:
    """What later logins there descend from."""
    first = psutil.Process(host.first_pid)
    return [first, *first.children()]


def measured_alone(hosts: Hosts, folder: Path, ranks: str) -> list[dict[Key, Row]]:
    """The rows of one sweep on each host, all at once: they share what hosts share here."""
    folders = [folder / host.name for host in hosts.hosts]
    running = []
    for host, each in zip(hosts.hosts, folders, strict=True):
        each.mkdir(parents=True)
        sweep = shlex.join(pytest_command(*_flags(SHARES, ranks)))
        # As a login, whose processes have what that host may use.
        there = f"cd {shlex.quote(str(each))} && {sweep}"
        command = hosts.desk.command("ssh", host.name, there)
        running.append(
            subprocess.Popen(
                command,
                env=_environment(hosts),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
            )
        )
    if any(process.wait(MOST_S) for process in running):
        sys.exit("a sweep of one process failed")
    return list(map(_rows, folders))


def measured_together(hosts: Hosts, folder: Path, ranks: str) -> dict[Key, Row]:
    folder.mkdir()
    flags = _flags([share * len(hosts.hosts) for share in SHARES], ranks)
    command = [*pytest_command(*flags), f"--yourai-hosts={hosts.hostfile}"]
    done = subprocess.run(
        hosts.desk.command(*command, folder=folder),
        capture_output=True,
        text=True,
        check=False,
        timeout=MOST_S,
        env=_environment(hosts),
    )
    if done.returncode:
        sys.exit(done.stdout + done.stderr)
    return _rows(folder)


def step_s(row: Row) -> float:
    return float(row["step_time_ms"]) / 1e3


def _environment(hosts: Hosts) -> dict[str, str]:
    return {**os.environ, **hosts.environment, **hosts.variables}


def _flags(sizes: Sequence[int], ranks: str) -> list[str]:
    chosen = f"--yourai-batch-size={','.join(map(str, sizes))}"
    fixed = ("--yourai-num-layers=4", "--yourai-search=exhaustive")
    return ["--yourai-model=tiny", chosen, ranks, *fixed]


def _rows(folder: Path) -> dict[Key, Row]:
    rows = read_profile(folder)["all_results"]
    return {(row["batch_size"], row["lora_rank"]): row for row in rows if row["outcome"] == "ok"}


if __name__ == "__main__":
    main()

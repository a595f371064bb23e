"""The hosts that other tests run ranks on: what they do, and that nothing of them is left."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from support.hosts import Hosts, made_hosts, own_variables
from support.processes import is_gone, started, wait_for

SUM = """
import json, socket, time
import mlx.core as mx
group = mx.distributed.init(strict=True)
ones = mx.ones(2_000_000)
times = []
for _ in range(3):
    start = time.perf_counter()
    total = mx.distributed.all_sum(ones)
    mx.eval(total)
    times.append(time.perf_counter() - start)
least, most = total.min().item(), total.max().item()
print(json.dumps([socket.gethostname(), group.size(), least, most, times]))
"""

SLOW_BITS_PER_S = 100_000_000

SENT_BITS = 2_000_000 * 32
"""By each of two ranks of a ring, for an all_sum."""


@pytest.fixture
def hosts(tmp_path: Path) -> Iterator[Hosts]:
    with made_hosts(
        tmp_path / "hosts", own_variables("PYTHONPYCACHEPREFIX", "LD_PRELOAD")
    ) as hosts:
        yield hosts


def seconds_of_sums(hosts: Hosts) -> list[float]:
    """Of the slower rank, in the order in which they were added up."""
    launcher = Path(sys.executable).with_name("mlx.launch")
    arguments: list[str | Path] = ["--hostfile", hosts.hostfile, "--backend", "ring", "--"]
    done = subprocess.run(
        hosts.desk.command(sys.executable, launcher, *arguments, sys.executable, "-c", SUM),
        env={**os.environ, **hosts.environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    ranks = sorted(json.loads(line) for line in done.stdout.splitlines())
    assert [rank[:4] for rank in ranks] == [["host-a", 2, 2.0, 2.0], ["host-b", 2, 2.0, 2.0]]
    return [max(times) for times in zip(*(rank[4] for rank in ranks), strict=True)]


def answers(hosts: Hosts, name: str) -> bool:
    command = hosts.desk.command("ssh", "-o", "ConnectTimeout=1", name, "hostname")
    environment = {**os.environ, **hosts.environment}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    return done.stdout.split() == [name]


@pytest.mark.nightly
def test_ranks_add_up_over_links_that_can_be_slowed_and_cut(hosts: Hosts) -> None:
    quick = min(seconds_of_sums(hosts))
    assert hosts.processes() == []
    hosts.slow_down(f"{SLOW_BITS_PER_S}bit")
    slow = min(seconds_of_sums(hosts))
    assert slow > max(quick, 0.8 * SENT_BITS / SLOW_BITS_PER_S)
    first, second = hosts.hosts
    hosts.cut(second)
    assert [answers(hosts, host.name) for host in (first, second)] == [True, False]
    hosts.join(second)
    assert answers(hosts, second.name)


HOLD = """
import json, sys, time
from pathlib import Path
from support.hosts import made_hosts
with made_hosts(Path(sys.argv[1])) as hosts:
    hosts.hosts[0].processes()
    print(json.dumps([host.first_pid for host in (hosts.desk, *hosts.hosts)]), flush=True)
    time.sleep(600)
"""


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGKILL])
def test_nothing_is_left_of_them(
    hosts: Hosts, tmp_path: Path, end: signal.Signals, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of others, that is, which lie beside these with the same names and addresses."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    links = psutil.net_if_addrs().keys()
    command = [sys.executable, "-c", HOLD, str(tmp_path / "others")]
    with started(command, tmp_path) as process:
        assert process.stdout is not None
        held = [psutil.Process(pid) for pid in json.loads(process.stdout.readline())]
        inside = [child for first in held for child in first.children(recursive=True)]
        assert len(inside) == 2
        os.kill(process.pid, end)
        wait_for(lambda: all(map(is_gone, [*held, *inside])), 30)
    assert psutil.net_if_addrs().keys() == links
    assert all(answers(hosts, host.name) for host in hosts.hosts)

"""Ranks on two hosts: what befalls one of them costs its trial, and leaves nothing on any host."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from support import processes
from support.hosts import Hosts, made_hosts
from support.rank_faults import engine_variables, started_sweep

SLOW_BITS_PER_S = 100_000_000


@pytest.fixture
def hosts(tmp_path: Path) -> Iterator[Hosts]:
    with made_hosts(tmp_path / "hosts", engine_variables()) as hosts:
        yield hosts


@pytest.mark.real_engine
def test_ranks_train_over_a_slow_link(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with made_hosts(tmp_path / "hosts", engine_variables(None)) as hosts:
        hosts.slow_down(f"{SLOW_BITS_PER_S}bit")
        with started_sweep(hosts, folder, "", "-k", "batch2") as sweep:
            output = sweep.finish()
            assert sweep.left() == []
    found = re.search(r"2 ranks on host-a, host-b: ([\d.]+) MB summed in ([\d.]+)s", output)
    assert found is not None, output
    megabytes, seconds = map(float, found.groups())
    assert seconds > 0.8 * megabytes * 8e6 / SLOW_BITS_PER_S
    (row,) = processes.profile(folder)["all_results"]
    assert row["outcome"] == "ok", output
    assert len(row["ranks"]) == 2
    assert row["all_sum_bytes"] == 4 * row["trained_parameters"]


def test_a_cut_link_costs_one_trial(hosts: Hosts, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with started_sweep(hosts, folder, "measuring") as sweep:
        sweep.await_moment()
        hosts.cut(sweep.second)
        sweep.await_struck()
        # The other host has no part in it; this one finds out by itself.
        processes.wait_for(lambda: not sweep.second.processes(), 30)
        hosts.join(sweep.second)
        output = sweep.finish()
        assert sweep.left() == []
    assert processes.outcomes(folder) == ["ok", "peer_lost", "ok"], output
    assert "rank 1 (host-b)" in processes.profile(folder)["all_results"][1]["error"]


def test_with_pytest_its_ranks_end(hosts: Hosts, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with started_sweep(hosts, folder, "measuring") as sweep:
        sweep.await_moment()
        (pytest_process,) = sweep.find("-m pytest -p", hosts.desk)
        pytest_process.kill()
        sweep.finish()
        assert sweep.left() == []
    assert [each["outcome"] for each in processes.events(folder, "trial_complete")] == ["ok"]

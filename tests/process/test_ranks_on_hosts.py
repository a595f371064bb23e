"""Ranks on two hosts: what befalls one of them costs its trial, and leaves nothing on any host."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from support import processes
from support.rank_faults import engine_variables, started_sweep
from support.two_hosts import TwoHosts, two_hosts


@pytest.fixture
def hosts(tmp_path: Path) -> Iterator[TwoHosts]:
    with two_hosts(tmp_path / "hosts", engine_variables()) as both:
        yield both


def test_a_cut_link_costs_one_trial(hosts: TwoHosts, tmp_path: Path) -> None:
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


def test_with_pytest_its_ranks_end(hosts: TwoHosts, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with started_sweep(hosts, folder, "measuring") as sweep:
        sweep.await_moment()
        (pytest_process,) = sweep.find("-m pytest -p", hosts.desk)
        pytest_process.kill()
        sweep.finish()
        assert sweep.left() == []
    assert [each["outcome"] for each in processes.events(folder, "trial_complete")] == ["ok"]

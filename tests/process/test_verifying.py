"""The parts of a verification with real workers: what is right passes, what is planted is found."""

from __future__ import annotations

import contextlib
import dataclasses
import os
from pathlib import Path
from typing import Any

import pytest

from pytest_yourai.core.errors import WorkerError
from pytest_yourai.machine.guard import Guard
from pytest_yourai.machine.system_footprint import read_system_footprint
from pytest_yourai.verify.cases import cases
from pytest_yourai.verify.document import Status
from pytest_yourai.verify.measuring import ReadSystem, beside_stock
from pytest_yourai.verify.parts import Parts
from pytest_yourai.verify.stock import StockRun

from support.planted_engine import DONE_VARIABLE, VARIABLE
from support.processes import own_children, worker_processes


def misread(_pid: int, **_: Any) -> int:
    return 1_000_000_000


@pytest.mark.parametrize(
    ("plants", "read_system", "status"),
    [
        ("", read_system_footprint, Status.OK),
        ("minimum,prediction,limit", misread, Status.FAILED),
    ],
)
def test_what_is_planted_is_found(
    plants: str,
    read_system: ReadSystem,
    status: Status,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("YOURAI_TEST_ENGINE", "support.planted_engine:PlantedEngine")
    monkeypatch.setenv(DONE_VARIABLE, str(tmp_path / "done"))
    monkeypatch.setenv(VARIABLE, plants)
    with contextlib.closing(Parts(cases("cpu"), tmp_path, read_system)) as parts:
        lines = [*parts.first(), *parts.again(), *parts.limited()]
    names = ("prediction_dense", "minimum_repeats", "footprint", "limit")
    assert {line.name: line.status for line in lines} == dict.fromkeys(names, status)
    assert worker_processes() == []


@pytest.mark.real_engine
@pytest.mark.timeout(240)
def test_a_trial_and_mlx_lm_take_turns(tmp_path: Path) -> None:
    chosen = cases("cpu")
    config = dataclasses.replace(chosen.config, batch_size=1, num_layers=1)
    guard = Guard(4_000_000_000, forced=False)
    ours, theirs = beside_stock(tmp_path, chosen.models[0].architecture, config, 4, guard)
    assert len(ours.step_times_s) == len(theirs.step_times_s) == 4
    assert max(ours.peaks_bytes) == pytest.approx(max(theirs.peaks_bytes), rel=0.03)
    assert worker_processes() == []


def test_mlx_lm_that_fails_is_told_with_its_last_line(tmp_path: Path) -> None:
    recipe = {"model": str(tmp_path / "missing"), "train": True, "data": "data"}
    with StockRun(tmp_path, recipe, free_steps=2) as stock:
        [process] = own_children()
        # Where it shared a session with other programs, it would wait for them, and ours would not.
        assert os.getsid(process.pid) == process.pid
        with pytest.raises(WorkerError, match="mlx_lm.lora ended with 1: .*missing"):
            stock.steps(100)

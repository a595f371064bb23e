"""A regression of step time is measured again, between its neighbours, before it fails a run."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest

from pytest_yourai.sweep.stage_runner import StageRunner

from support.processes import SweepRun
from support.scripted_engine import SLOW_VARIABLE

GATE = ("--yourai-compare=base.json",)


@pytest.fixture
def baseline(sweep: SweepRun) -> Path:
    path = Path("base.json")
    sweep("--yourai-output=base.json", steps=5)
    return path


def test_a_busy_moment_fails_nothing(
    sweep: SweepRun, baseline: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(SLOW_VARIABLE, "1")
    done = sweep(*GATE, steps=5)
    assert done.ret == 0
    assert "Slower than the baseline: measuring 2 configurations of tiny again" in done.text
    assert done.text.count("measured again: +0.0 %") == 1
    assert "No regression" in done.text
    first, *_ = done.profile["all_results"]
    old, neighbour = done.profile["other_results"]
    assert first["step_time_ms"] * 2 == pytest.approx(old["step_time_ms"])
    assert (old["batch_size"], neighbour["batch_size"]) == (1, 2)
    [verdict] = done.profile["confirmation"]
    assert (verdict["confirmed"], verdict["changes"]) == (False, [0.0])
    assert len(done.events("trial_repeated")) == 2
    # What was measured again is not what an interrupted run goes on with.
    resumed = sweep(*GATE, "--yourai-resume", "--yourai-confirm=0", steps=5)
    assert resumed.ret == 1
    assert resumed.text.count("(kept)") == 3


@pytest.mark.parametrize("arguments", [(), ("-n1",)])
def test_a_slow_down_is_confirmed_and_fails(
    sweep: SweepRun, baseline: Path, arguments: tuple[str, ...]
) -> None:
    found = json.loads(baseline.read_text())
    del found["digest"]
    row = found["all_results"][0]
    row["step_times_s"] = [each / 2 for each in row["step_times_s"]]
    baseline.write_text(json.dumps(found))
    done = sweep(*GATE, *arguments, steps=5)
    assert done.ret == 1
    assert "REGRESSION batch=1, rank=4, layers=2: step_time " in done.text
    assert done.text.count("measured again: +100.0 %, +100.0 %") == 1
    [verdict] = done.profile["confirmation"]
    assert (verdict["confirmed"], verdict["changes"]) == (True, [1.0, 1.0])
    # Both rounds of a scripted engine are equal, and count as one measurement.
    assert [row["batch_size"] for row in done.profile["other_results"]] == [1, 2]


def test_an_interruption_while_it_measures_again_keeps_the_first_results(
    sweep: SweepRun, baseline: Path, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    matrix = next(iter(Path().glob("*.yaml")))
    monkeypatch.setenv(SLOW_VARIABLE, "1")
    monkeypatch.setattr(StageRunner, "measure_again", lambda *_: signal.raise_signal(signal.SIGINT))
    ended = pytester.runpytest_inprocess(
        *("--yourai-model=tiny", "--yourai-steps=5", f"--yourai-matrix={matrix}", *GATE),
        no_reraise_ctrlc=True,
    )
    assert ended.ret == pytest.ExitCode.INTERRUPTED
    found = json.loads(Path("optimal_config.json").read_text())
    assert [row["outcome"] for row in found["all_results"]] == ["ok"] * 3
    assert found["confirmation"] == []


def test_without_a_gate_nothing_is_measured_again(
    sweep: SweepRun, baseline: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(SLOW_VARIABLE, "1")
    done = sweep(*GATE, "--yourai-fail-on=none", steps=5)
    assert done.ret == 0
    assert "1 regression" in done.text
    assert done.profile["confirmation"] == done.profile["other_results"] == []

"""Each line is found at fault where what it is about is wrong, and not where it is right."""

from __future__ import annotations

import dataclasses
import json
import random
from pathlib import Path
from typing import Any

import pytest

from pytest_yourai.core.device import Backend
from pytest_yourai.core.power import PowerState, PowerTrace, ThermalState
from pytest_yourai.verify import judging
from pytest_yourai.verify.document import Status, read

DATA = Path(__file__).parents[2] / "data"
MB = 1_000_000


def steps(
    share: float = 0.0, noise: float = 0.04, busy: float = 0.0
) -> tuple[list[float], list[float]]:
    """60 times of ours, that are `share` longer, and of mlx-lm's, with normal noise.

    `busy` is the share of steps that other programs make up to five times as long.
    """
    chance = random.Random(5)

    def step() -> float:
        waits = chance.uniform(1, 5) if chance.random() < busy else 1.0
        return max(0.01, chance.gauss(0.1, 0.1 * noise)) * waits

    return [step() * (1 + share) for _ in range(60)], [step() for _ in range(60)]


def test_equal_step_times_agree() -> None:
    line = judging.step_time(*steps())
    assert line.status is Status.OK
    assert abs(line.value or 1) < 0.02
    assert "60 pairs" in line.note
    assert len(line.samples["ours_s"]) == len(line.samples["mlx_lm_s"]) == 60


@pytest.mark.parametrize("share", [0.1, -0.1])
def test_a_step_time_that_is_10_percent_off_is_found(share: float) -> None:
    line = judging.step_time(*steps(share))
    assert line.status is Status.FAILED
    assert line.value == pytest.approx(share, abs=0.03)


@pytest.mark.parametrize(
    ("share", "status"), [(0.0, Status.OK), (0.1, Status.FAILED), (-0.1, Status.FAILED)]
)
def test_on_a_busy_machine_the_fastest_steps_tell(share: float, status: Status) -> None:
    line = judging.step_time(*steps(share, noise=0.02, busy=0.7))
    assert line.status is status
    assert "fastest tenth of 60 pairs" in line.note
    assert line.value == pytest.approx(share, abs=0.03)


def test_where_noise_hides_10_percent_nothing_is_told() -> None:
    line = judging.step_time(*steps(noise=0.3))
    assert line.status is Status.NOT_READ
    assert "close other programs" in line.note


def test_a_large_difference_shows_through_noise() -> None:
    assert judging.step_time(*steps(2.0, noise=0.3)).status is Status.FAILED


def test_load_that_hits_one_side_is_no_difference() -> None:
    # Other programs ran in the session of mlx_lm.lora alone, so that it waited for the processor.
    recorded = json.loads((DATA / "uneven_load.json").read_text(encoding="utf-8"))
    line = judging.step_time(recorded["ours_s"], recorded["mlx_lm_s"])
    assert line.value is not None
    assert line.value < -0.5
    assert line.status is Status.NOT_READ


def test_a_peak_that_is_3_percent_off_is_found() -> None:
    peaks = [7_200_000 + step * 100 for step in range(20)]
    assert judging.peak(peaks, [each + 20_000 for each in peaks]).status is Status.OK
    line = judging.peak([round(each * 1.03) for each in peaks], peaks)
    assert (line.status, round(line.value or 0, 3)) == (Status.FAILED, 0.03)
    assert judging.peak([round(each * 0.97) for each in peaks], peaks).status is Status.FAILED


@pytest.mark.parametrize(
    ("backend", "again", "status"),
    [
        ("cpu", 102 * MB, Status.OK),
        ("cpu", 103 * MB, Status.FAILED),
        ("metal", 100_900_000, Status.OK),
        ("metal", 102 * MB, Status.FAILED),
        ("cuda", 98 * MB, Status.FAILED),
    ],
)
def test_a_minimum_that_does_not_repeat_is_found(
    backend: Backend, again: int, status: Status
) -> None:
    assert judging.repeats(100 * MB, again, backend).status is status


def test_a_limit_that_is_not_obeyed_is_found() -> None:
    obeyed = judging.limit(115 * MB, [100 * MB, 115 * MB, 90 * MB], 130 * MB)
    assert (obeyed.status, obeyed.value) == (Status.OK, 0.0)
    assert "without a limit 130.0 MB" in obeyed.note
    passed = judging.limit(115 * MB, [100 * MB, 118 * MB, 90 * MB], 130 * MB)
    assert passed.status is Status.FAILED


def test_a_limit_that_nothing_would_pass_shows_nothing() -> None:
    line = judging.limit(115 * MB, [100 * MB], 110 * MB)
    assert line.status is Status.NOT_READ
    assert "no more than the limit without one" in line.note


@pytest.mark.parametrize(
    ("backend", "predicted", "status"),
    [
        ("cpu", 89 * MB, Status.OK),
        ("cpu", 87 * MB, Status.FAILED),
        ("metal", 104 * MB, Status.OK),
        ("metal", 106 * MB, Status.FAILED),
        ("cuda", 94 * MB, Status.FAILED),
    ],
)
def test_a_prediction_that_is_off_is_found(
    backend: Backend, predicted: int, status: Status
) -> None:
    check = judging.prediction_check("dense", "dense")
    line = judging.prediction(check, (predicted, 125 * MB), (100 * MB, 120 * MB), backend)
    assert (line.name, line.status) == ("prediction_dense", status)
    assert line.samples["takes_bytes"] == [120 * MB]


def test_what_it_takes_is_told_where_it_is_predicted() -> None:
    check = judging.prediction_check("dense", "dense")
    both = judging.prediction(check, (99 * MB, 125 * MB), (100 * MB, 120 * MB), "metal")
    assert both.note.endswith("; takes 125.0 MB predicted, measured 120.0 MB")
    assert both.samples["predicted_takes_bytes"] == [125 * MB]
    alone = judging.prediction(check, (99 * MB, None), (100 * MB, 120 * MB), "cpu")
    assert alone.note == "99.0 MB predicted, measured 100.0 MB"


def test_without_an_estimate_a_prediction_fails() -> None:
    check = judging.prediction_check("mixture", "mixture of experts")
    line = judging.prediction(check, None, (100 * MB, 120 * MB), "metal")
    assert line.status is Status.FAILED
    assert "no estimate" in line.note


def test_a_guard_that_misses_memory_is_found() -> None:
    seen = [(1000 * MB, 1010 * MB), (1000 * MB, 1001 * MB), (1000 * MB, 900 * MB)]
    assert judging.footprint(seen, "footprint", "metal").status is Status.OK
    resident_alone = [(600 * MB, other) for _, other in seen]
    assert judging.footprint(resident_alone, "footprint", "metal").status is Status.FAILED
    assert judging.footprint([], "footprint", "metal").status is Status.NOT_READ


COOL = PowerState("mains", 90, low_power_mode=False, thermal=ThermalState.NOMINAL)


def powered(**changes: Any) -> PowerTrace | None:
    """Cool and on mains, then with `changes`, then as before."""
    return PowerTrace.of([COOL, dataclasses.replace(COOL, **changes), COOL])


def test_a_machine_that_slept_is_found() -> None:
    usual = judging.conditions(100.0, 100.0, powered())
    assert (usual.status, usual.value) == (Status.OK, 0.0)
    assert usual.note == "on mains; thermal state nominal"
    slept = judging.conditions(100.0, 140.0, powered())
    assert (slept.status, slept.value) == (Status.FAILED, 40.0)
    # Clocks are read one after the other.
    assert judging.conditions(100.0, 99.99, None).value == 0


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"thermal": ThermalState.SERIOUS}, "throttled by heat"),
        ({"speed_limit_percent": 70}, "speed limited to 70 %"),
        ({"low_power_mode": True}, "low-power mode came on"),
        ({"source": "battery"}, "it went on battery"),
    ],
)
def test_a_machine_that_was_slowed_down_is_found(changes: dict[str, Any], told: str) -> None:
    line = judging.conditions(100.0, 100.0, powered(**changes))
    assert line.status is Status.FAILED
    assert told in line.note


def test_low_power_mode_from_the_start_is_found() -> None:
    saving = dataclasses.replace(COOL, low_power_mode=True)
    line = judging.conditions(None, None, PowerTrace.of([saving, saving]))
    assert line.status is Status.FAILED
    assert "low power mode slows it down" in line.note


def test_where_neither_clocks_nor_power_tell_nothing_is_read() -> None:
    assert judging.conditions(None, None, None).status is Status.NOT_READ


def test_what_breaks_off_fails() -> None:
    line = judging.PEAK.broken_off("the worker ended")
    assert (line.name, line.status, line.note) == ("peak", Status.FAILED, "the worker ended")


@pytest.mark.parametrize(
    ("share", "status"), [(1.0, Status.OK), (1.1, Status.FAILED), (0.9, Status.FAILED)]
)
def test_recorded_steps_tell_10_percent(share: float, status: Status) -> None:
    # Of two cores that 16 other processes shared.
    recorded = read(Path(__file__).parents[3] / "docs" / "verified" / "linux-cpu.json")
    [line] = [each for each in recorded.lines if each.name == "step_time"]
    ours_s = [each * share for each in line.samples["ours_s"]]
    assert judging.step_time(ours_s, line.samples["mlx_lm_s"]).status is status

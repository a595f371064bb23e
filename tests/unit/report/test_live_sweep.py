"""What is shown of a trial that runs."""

from __future__ import annotations

import re
import time

import pytest

from pytest_yourai.report.live_area import LiveArea
from pytest_yourai.report.live_sweep import DisplayedTrial, SweepDisplay
from pytest_yourai.sweep.trial_progress import TrialProgress

from support.screens import Written

GB = 1_000_000_000
MEASURING = TrialProgress("measuring", 4, 10, 5 * GB, 15 * GB, 20 * GB)
THIRD = DisplayedTrial("[3/12] batch=1, rank=8, layers=4", 2, 12, expected_s=20.0, later_s=600.0)


@pytest.fixture(autouse=True)
def _terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LINES", "24")
    monkeypatch.setenv("TERM", "xterm-256color")


class Looked:
    """A display, and the lines of its terminal."""

    def __init__(self, columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("COLUMNS", str(columns))
        self.stream = Written(columns)
        area = LiveArea(self.stream, has_color=False, line_width=lambda: 0)
        self.display = SweepDisplay()
        self.display.draw_on(area)

    def at(self, progress: TrialProgress, shown: DisplayedTrial = THIRD) -> list[str]:
        with self.display.showing(shown):
            self.display.on_progress(progress)
            lines = self.stream.lines
        assert self.stream.lines == [""]
        return lines[1:]


@pytest.fixture
def wide(monkeypatch: pytest.MonkeyPatch) -> Looked:
    return Looked(80, monkeypatch)


def test_a_wide_terminal_shows_place_phase_memory_and_time(wide: Looked) -> None:
    first, phase, memory = wide.at(MEASURING)
    assert re.fullmatch(r"\[3/12\] batch=1, rank=8, layers=4 ━+╸? +10 min left", first)
    assert phase == "measuring, step 4 of 10"
    assert re.fullmatch(r"active 5.0 GB, peak 15.0 GB ━+╸? +75% of 20.0 GB", memory)


def test_a_narrow_one_shows_the_same_in_as_many_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    first, phase, memory = Looked(40, monkeypatch).at(MEASURING)
    assert first == "[3/12] batch=1, rank=8, layers=4"
    assert phase == "measuring, step 4 of 10     10 min left"
    assert re.fullmatch(r"active 5.0 GB, peak 15.0 GB ━+╸? +75%", memory)


def test_before_they_are_known_time_and_memory_are_not_shown(wide: Looked) -> None:
    first, phase = wide.at(
        TrialProgress("loading the model", None, None, None, None, 20 * GB),
        DisplayedTrial("x", 0, 12),
    )
    assert (first, phase) == ("x", "loading the model")


def test_time_that_passes_is_no_longer_left(wide: Looked, monkeypatch: pytest.MonkeyPatch) -> None:
    last = DisplayedTrial("x", 11, 12, expected_s=30.0, later_s=0.0)
    now = time.monotonic()
    with wide.display.showing(last):
        monkeypatch.setattr(time, "monotonic", lambda: now + 12)
        wide.display.on_progress(MEASURING)
        assert wide.stream.lines[1].endswith(" 18 s left")
        monkeypatch.setattr(time, "monotonic", lambda: now + 40)
        wide.display.on_progress(MEASURING)
        assert "left" not in wide.stream.lines[1]


def test_a_soak_knows_how_long_it_takes(wide: Looked) -> None:
    training = TrialProgress("training", 1234, None, GB, GB, 20 * GB, left_s=300.0)
    first, phase, _ = wide.at(training, DisplayedTrial("Soak: x", 0, 600.0))
    assert first.endswith(" 5 min left")
    assert phase == "training, step 1,234"


def test_a_step_that_compiles_shows_how_long_and_its_limit(wide: Looked) -> None:
    compiling = TrialProgress("warm-up", 1, None, GB, GB, 20 * GB, compiling_s=35.2)
    spinner, said = wide.at(compiling)[1].split(" ", 1)
    assert said == "compiling, 0:35 of at most 15:00"
    assert len(spinner) == 1


def test_a_long_step_shows_the_time_of_its_trial_and_the_limit(
    wide: Looked, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.monotonic()
    limited = DisplayedTrial("x", 2, 12, timeout_s=300.0)

    def at(seconds: float, progress: TrialProgress) -> str:
        monkeypatch.setattr(time, "monotonic", lambda: now + seconds)
        wide.display.on_progress(progress)
        return wide.stream.lines[2]

    monkeypatch.setattr(time, "monotonic", lambda: now)
    with wide.display.showing(limited):
        assert at(1, MEASURING) == "measuring, step 4 of 10"
        said = [at(second, MEASURING) for second in (42, 42.25)]
        assert [each[2:] for each in said] == ["measuring, step 4 of 10, 0:42 of at most 5:00"] * 2
        assert said[0] != said[1]
        compiling = TrialProgress("warm-up", 1, None, GB, GB, 20 * GB, compiling_s=9)
        assert "compiling, 0:09" in at(50, compiling)
        assert at(60, MEASURING) == "measuring, step 4 of 10"
        assert at(64, MEASURING)[2:] == "measuring, step 4 of 10, 0:14 of at most 5:00"


def test_a_log_has_a_line_now_and_then_while_a_step_compiles() -> None:
    lines: list[str] = []
    display = SweepDisplay()
    display.log_to(lines.append)
    with display.showing(THIRD):
        for _ in range(2):
            for elapsed_s in (1.0, 29.0, 31.0, 50.0, None):
                display.on_progress(
                    TrialProgress("warm-up", 1, None, GB, GB, 20 * GB, compiling_s=elapsed_s)
                )
    assert lines == [f"{THIRD.title}: compiling, 0:31 of at most 15:00"] * 2


def test_it_is_drawn_four_times_a_second_at_most(
    wide: Looked, monkeypatch: pytest.MonkeyPatch
) -> None:
    began = time.monotonic()
    drawings = 0
    for tick in range(200):
        monkeypatch.setattr(time, "monotonic", lambda: began + tick / 100)  # noqa: B023
        before = len(wide.stream.getvalue())
        wide.display.on_progress(MEASURING)
        drawings += len(wide.stream.getvalue()) > before
    assert drawings == 8


def test_an_exception_leaves_nothing_behind(wide: Looked) -> None:
    def interrupted() -> None:
        with wide.display.showing(THIRD):
            wide.display.on_progress(MEASURING)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert wide.stream.lines == [""]


def test_where_nobody_looks_nothing_is_drawn() -> None:
    display = SweepDisplay()
    with display.showing(THIRD):
        display.on_progress(MEASURING)
    assert not display.is_on

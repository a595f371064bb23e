from __future__ import annotations

import pytest

from pytest_yourai.machine.sleep import asleep_s


@pytest.mark.parametrize(
    ("platform", "clocks"),
    [
        ("linux", {"CLOCK_BOOTTIME": 5000.0, "CLOCK_MONOTONIC": 1400.0}),
        ("darwin", {"CLOCK_MONOTONIC": 5000.0, "CLOCK_UPTIME_RAW": 1400.0}),
    ],
)
def test_sleep_is_what_one_clock_leaves_out(platform: str, clocks: dict[str, float]) -> None:
    assert asleep_s(platform, clocks.__getitem__) == 3600


def test_where_no_clock_tells_it_is_not_known() -> None:
    def missing(_: str) -> float:
        raise AttributeError

    assert asleep_s("win32") is None
    assert asleep_s("linux", missing) is None


def test_this_machine_has_clocks() -> None:
    slept = asleep_s()
    assert slept is None or slept > -1

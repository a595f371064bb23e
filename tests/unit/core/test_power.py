from __future__ import annotations

import pytest

from pytest_yourai.core.power import PowerState, PowerTrace, ThermalState

CALM = PowerState("mains", 100, False, ThermalState.NOMINAL, 100)


def traced(*states: PowerState) -> PowerTrace:
    found = PowerTrace.of(states)
    assert found is not None
    return found


def test_the_worst_of_each_value_is_kept() -> None:
    low = PowerState("battery", 40, True, ThermalState.FAIR, 90)
    hot = PowerState("mains", 60, None, ThermalState.CRITICAL, None)
    trace = traced(CALM, hot, low, CALM)
    assert (trace.start, trace.end) == (CALM, CALM)
    assert trace.worst == PowerState("battery", 40, True, ThermalState.CRITICAL, 90)


def test_nothing_is_kept_of_a_machine_that_says_nothing() -> None:
    assert PowerTrace.of([PowerState(), PowerState()]) is None
    assert traced(PowerState(), CALM).worst == CALM


@pytest.mark.parametrize(
    ("worst", "warning"),
    [
        (PowerState(thermal=ThermalState.SERIOUS), "by heat (thermal state serious): let it cool"),
        (PowerState(speed_limit_percent=0), "by heat (speed limited to 0 %): let it cool"),
        (PowerState(speed_limit_percent=72), "by heat (speed limited to 72 %): let it cool"),
        (
            PowerState(thermal=ThermalState.CRITICAL, speed_limit_percent=50),
            "(thermal state critical, speed limited to 50 %)",
        ),
        (PowerState(source="battery"), "it went on battery: connect the charger"),
        (PowerState(low_power_mode=True), "low-power mode came on: switch it off"),
    ],
)
def test_what_slows_a_trial_is_told(worst: PowerState, warning: str) -> None:
    [found] = traced(CALM, worst, CALM).warnings
    assert warning in found


def test_what_slows_nothing_is_not_told() -> None:
    assert traced(CALM, CALM).warnings == []
    assert traced(CALM, PowerState(thermal=ThermalState.FAIR), CALM).warnings == []
    on_battery = PowerState("battery", 90, True)
    assert traced(on_battery, on_battery).warnings == [], "the header has told it"

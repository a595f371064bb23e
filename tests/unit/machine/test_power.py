"""Power and heat, from what the system's own programs print."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import psutil
import pytest

from pytest_yourai.core.power import PowerSource, PowerState, ThermalState
from pytest_yourai.machine.power import (
    INTERVAL_S,
    PowerWatch,
    charge_percent,
    low_power_mode,
    power_source,
    read_power,
    speed_limit_percent,
    thermal_pressure,
    thermal_warning,
)

# As people printed them, and as pmset.c has them.
ON_BATTERY = """Now drawing from 'Battery Power'
 -InternalBattery-0 (id=12345678)\t87%; discharging; 5:12 remaining present: true
"""
ON_MAINS = """Now drawing from 'AC Power'
 -InternalBattery-0 (id=12345678)\t100%; charged; 0:00 remaining present: true
"""
DESKTOP = "Now drawing from 'AC Power'\n"
SETTINGS = """System-wide power settings:
Currently in use:
 standby              1
 lowpowermode         {}
 hibernatemode        3
"""
COOL = """Note: No thermal warning level has been recorded
Note: No performance warning level has been recorded
Note: No CPU power status has been recorded
"""
WARNED = """2026-09-23 14:05:31 -0700 Thermal Warning Level = {}
Note: No performance warning level has been recorded
Note: No CPU power status has been recorded
"""
# With the separators of the source: a space, a tab, an equals sign.
LIMITED = """Note: No thermal warning level has been recorded
Note: No performance warning level has been recorded
2026-08-20 05:08:37 -0700 CPU Power notify
\tCPU_Scheduler_Limit \t= 100
\tCPU_Available_CPUs \t= 12
\tCPU_Speed_Limit \t= {}
"""
PRESSURE = "com.apple.system.thermalpressurelevel {}\n"


@pytest.mark.parametrize(
    ("text", "source", "charge"),
    [
        (ON_BATTERY, "battery", 87),
        (ON_MAINS, "mains", 100),
        (DESKTOP, "mains", None),
        ("", None, None),
    ],
)
def test_the_battery(text: str, source: str | None, charge: int | None) -> None:
    assert (power_source(text), charge_percent(text)) == (source, charge)


@pytest.mark.parametrize(
    ("text", "low"),
    [
        (SETTINGS.format(1), True),
        (SETTINGS.format(0), False),
        (" powermode            1\n", True),
        (" powermode            2\n", False),
        ("", None),
    ],
)
def test_low_power_mode(text: str, low: bool | None) -> None:
    assert low_power_mode(text) is low


@pytest.mark.parametrize(
    ("text", "state", "limit"),
    [
        (COOL, ThermalState.NOMINAL, None),
        (WARNED.format(0), ThermalState.NOMINAL, None),
        (WARNED.format(5), ThermalState.SERIOUS, None),
        (WARNED.format(70), ThermalState.SERIOUS, None),
        (WARNED.format(110), ThermalState.CRITICAL, None),
        (WARNED.format(255), None, None),
        (LIMITED.format(100), ThermalState.NOMINAL, 100),
        (LIMITED.format(72), ThermalState.NOMINAL, 72),
        ("", None, None),
    ],
)
def test_thermal_warnings(text: str, state: ThermalState | None, limit: int | None) -> None:
    assert (thermal_warning(text), speed_limit_percent(text)) == (state, limit)


@pytest.mark.parametrize(
    ("text", "state"),
    [
        (PRESSURE.format(0), ThermalState.NOMINAL),
        (PRESSURE.format(1), ThermalState.FAIR),
        (PRESSURE.format(2), ThermalState.SERIOUS),
        (PRESSURE.format(4), ThermalState.CRITICAL),
        (PRESSURE.format(17), None),
        ("", None),
    ],
)
def test_thermal_pressure(text: str, state: ThermalState | None) -> None:
    assert thermal_pressure(text) is state


def printing(therm: str, pressure: str, battery: str = ON_BATTERY) -> Callable[..., str]:
    """A Mac whose programs print this."""
    printed = {
        ("pmset", "-g", "batt"): battery,
        ("pmset", "-g", "therm"): therm,
        ("pmset", "-g"): SETTINGS.format(1),
        ("notifyutil", "-g", "com.apple.system.thermalpressurelevel"): pressure,
    }
    return lambda *command: printed[command]


def test_a_mac_that_is_warm_on_battery() -> None:
    found = read_power("darwin", printing(COOL, PRESSURE.format(2)))
    assert found == PowerState("battery", 87, True, ThermalState.SERIOUS, None)
    assert found.is_throttled, "pmset itself reported nothing"
    limited = read_power("darwin", printing(LIMITED.format(72), PRESSURE.format(0), DESKTOP))
    assert limited == PowerState("mains", None, True, ThermalState.NOMINAL, 72)
    assert limited.is_throttled


def test_a_mac_that_says_nothing() -> None:
    assert read_power("darwin", lambda *_: "") == PowerState()


class Sensor(NamedTuple):
    label: str
    current: float
    high: float | None
    critical: float | None


class Battery(NamedTuple):
    percent: float
    power_plugged: bool | None


@pytest.mark.parametrize(
    ("sensors", "state"),
    [
        ({"coretemp": [Sensor("core", 60.0, 80.0, 100.0)]}, ThermalState.NOMINAL),
        ({"coretemp": [Sensor("a", 60.0, 80.0, 100.0), Sensor("b", 85.0, 80.0, 100.0)]}, "serious"),
        ({"k10temp": [Sensor("Tctl", 101.0, None, 100.0)]}, ThermalState.CRITICAL),
        ({"k10temp": [Sensor("Tctl", 101.0, None, None)]}, None),
        ({"nvme": [Sensor("disk", 99.0, 80.0, 90.0)]}, None),
        ({}, None),
    ],
)
def test_linux_has_the_processors_sensors(
    monkeypatch: pytest.MonkeyPatch, sensors: dict[str, list[Sensor]], state: str | None
) -> None:
    monkeypatch.setattr(psutil, "sensors_temperatures", lambda: sensors)
    monkeypatch.setattr(psutil, "sensors_battery", lambda: None)
    assert read_power("linux") == PowerState(thermal=ThermalState(state) if state else None)


@pytest.mark.parametrize(("plugged", "source"), [(True, "mains"), (False, "battery"), (None, None)])
def test_linux_has_a_battery(
    monkeypatch: pytest.MonkeyPatch, plugged: bool | None, source: PowerSource | None
) -> None:
    monkeypatch.setattr(psutil, "sensors_battery", lambda: Battery(54.6, plugged))
    monkeypatch.delattr(psutil, "sensors_temperatures")
    assert read_power("linux") == PowerState(source=source, charge_percent=55)


def test_odd_files_of_the_system_say_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> None:
        raise ValueError("could not convert string to float: ''")

    monkeypatch.setattr(psutil, "sensors_battery", broken)
    monkeypatch.setattr(psutil, "sensors_temperatures", broken)
    assert read_power("linux") == PowerState()


def test_a_trial_is_watched_from_start_to_end(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    states = iter(
        PowerState("mains", thermal=ThermalState(name))
        for name in (
            "nominal",
            "serious",
            "fair",
        )
    )
    watch = PowerWatch(lambda: next(states))
    watch.check()
    now = INTERVAL_S
    watch.check()
    watch.check()
    trace = watch.end()
    assert trace is not None
    assert [each.thermal for each in (trace.start, trace.worst, trace.end)] == [
        ThermalState.NOMINAL,
        ThermalState.SERIOUS,
        ThermalState.FAIR,
    ]


def test_where_nothing_is_known_there_is_no_trace() -> None:
    assert PowerWatch(PowerState).end() is None

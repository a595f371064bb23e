"""Power supply and heat of this machine, read without special rights.

On a Mac by `pmset` and `notifyutil`, elsewhere by psutil. How their output looks is from
PowerManagement's source (pmset.c) and from what people printed.
"""

from __future__ import annotations

import contextlib
import re
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import psutil

from pytest_yourai.core.power import PowerSource, PowerState, PowerTrace, ThermalState
from pytest_yourai.machine.commands import Command, output_of

INTERVAL_S = 10.0
"""Between two looks during a trial; one starts four small programs on a Mac."""

_PRESSURE = "com.apple.system.thermalpressurelevel"
"""The system's own notification: `pmset` reports no warnings on most machines of Apple silicon."""

_BY_PRESSURE = (
    ThermalState.NOMINAL,
    ThermalState.FAIR,
    ThermalState.SERIOUS,
    ThermalState.CRITICAL,
    ThermalState.CRITICAL,
)
"""By the level: nominal, moderate, heavy, trapping, sleeping (OSThermalNotification.h)."""

_BY_WARNING = {
    0: ThermalState.NOMINAL,
    5: ThermalState.SERIOUS,
    100: ThermalState.SERIOUS,
    10: ThermalState.CRITICAL,
    110: ThermalState.CRITICAL,
}
"""kIOPMThermalLevel*: normal, danger, warning, critical, trap (IOPM.h)."""

_UNKNOWN_WARNING = 255

_NO_WARNING = "No thermal warning level has been recorded"

_PROCESSOR_SENSORS = ("coretemp", "k10temp", "zenpower", "cpu_thermal", "cpu-thermal")


def read_power(platform_name: str = sys.platform, read: Command = output_of) -> PowerState:
    """The state now."""
    if platform_name == "darwin":
        battery = read("pmset", "-g", "batt")
        therm = read("pmset", "-g", "therm")
        states = [thermal_warning(therm), thermal_pressure(read("notifyutil", "-g", _PRESSURE))]
        return PowerState(
            source=power_source(battery),
            charge_percent=charge_percent(battery),
            low_power_mode=low_power_mode(read("pmset", "-g")),
            thermal=_hottest(states),
            speed_limit_percent=speed_limit_percent(therm),
        )
    found = _battery()
    return PowerState(
        source=_source_of(found.power_plugged if found else None),
        charge_percent=round(found.percent) if found else None,
        thermal=_hottest(_sensors()),
    )


def _battery() -> Any:
    """The battery by psutil; None without one, and where the system's files about it are odd."""
    read = getattr(psutil, "sensors_battery", None)
    with contextlib.suppress(OSError, ValueError, ArithmeticError):
        return read() if read else None
    return None


def power_source(text: str) -> PowerSource | None:
    """By `pmset -g batt`, whose first line is `Now drawing from 'AC Power'`."""
    match = re.search(r"drawing from '([^']+)'", text)
    return match and ("battery" if match[1] == "Battery Power" else "mains")


def charge_percent(text: str) -> int | None:
    """By `pmset -g batt`: ` -InternalBattery-0 (id=1)	87%; discharging; …`."""
    match = re.search(r"InternalBattery.*?(\d{1,3})%", text)
    return int(match[1]) if match else None


def low_power_mode(text: str) -> bool | None:
    """By `pmset -g`; `powermode 1` on newer systems, where 2 is high power."""
    match = re.search(r"^\s*(?:lowpowermode|powermode)\s+(\d)", text, re.MULTILINE)
    return match and match[1] == "1"


def thermal_warning(text: str) -> ThermalState | None:
    """By `pmset -g therm`; None where it says nothing of heat."""
    if match := re.search(r"Thermal Warning Level\s*=\s*(\d{1,4})\b", text):
        level = int(match[1])
        return None if level == _UNKNOWN_WARNING else _BY_WARNING.get(level, ThermalState.SERIOUS)
    return ThermalState.NOMINAL if _NO_WARNING in text else None


def thermal_pressure(text: str) -> ThermalState | None:
    """By `notifyutil -g com.apple.system.thermalpressurelevel`, which prints name and level."""
    match = re.search(rf"{re.escape(_PRESSURE)}\s+(\d{{1,3}})\b", text)
    level = int(match[1]) if match else len(_BY_PRESSURE)
    return _BY_PRESSURE[level] if level < len(_BY_PRESSURE) else None


def speed_limit_percent(text: str) -> int | None:
    """By `pmset -g therm`: the lower of processor and scheduler, where heat has set one."""
    found = re.findall(r"CPU_(?:Speed|Scheduler)_Limit\s*=\s*(\d{1,3})\b", text)
    return min(map(int, found), default=None)


def _source_of(is_plugged: bool | None) -> PowerSource | None:
    if is_plugged is None:
        return None
    return "mains" if is_plugged else "battery"


def _hottest(states: Iterable[ThermalState | None]) -> ThermalState | None:
    known = [each for each in states if each is not None]
    return max(known, key=lambda each: each.level, default=None)


def _sensors() -> list[ThermalState]:
    """The processor's own, by the limits that the system gives them; none on a Mac."""
    read: Callable[[], Mapping[str, list[tuple[str, float, float | None, float | None]]]] | None
    read = getattr(psutil, "sensors_temperatures", None)
    found: Mapping[str, list[tuple[str, float, float | None, float | None]]] = {}
    with contextlib.suppress(OSError, ValueError):
        found = read() if read else {}
    return [
        state
        for name, sensors in found.items()
        if name in _PROCESSOR_SENSORS
        for _, current, high, critical in sensors
        if (state := _by_temperature(current, high, critical)) is not None
    ]


def _by_temperature(
    current: float, high: float | None, critical: float | None
) -> ThermalState | None:
    if critical and current >= critical:
        return ThermalState.CRITICAL
    if high and current >= high:
        return ThermalState.SERIOUS
    return ThermalState.NOMINAL if high or critical else None


class PowerWatch:
    """Looks at power and heat during one run: at its start, every ten seconds, and at its end."""

    def __init__(self, read: Callable[[], PowerState] = read_power) -> None:
        self._read = read
        self._states: list[PowerState] = [read()]
        self._next_at = time.monotonic() + INTERVAL_S

    def check(self) -> None:
        """Look, if it is time to."""
        if time.monotonic() >= self._next_at:
            self._states.append(self._read())
            self._next_at = time.monotonic() + INTERVAL_S

    def end(self) -> PowerTrace | None:
        """Look for the last time; None where nothing is known of this machine."""
        return PowerTrace.of([*self._states, self._read()])

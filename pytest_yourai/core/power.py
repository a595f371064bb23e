"""Power supply and heat of a machine: at one moment, and over a trial."""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

PowerSource = Literal["battery", "mains"]

_T = TypeVar("_T")

_FULL_SPEED_PERCENT = 100


class ThermalState(enum.StrEnum):
    """How hot a machine is, in the words of macOS; it slows down from `serious` on."""

    NOMINAL = "nominal"
    FAIR = "fair"
    SERIOUS = "serious"
    CRITICAL = "critical"

    @property
    def level(self) -> int:
        """0 for `nominal`, more the hotter it is."""
        return list(ThermalState).index(self)


@dataclass(frozen=True, slots=True)
class PowerState:
    """Power and heat at one moment; None where they are not known.

    `speed_limit_percent` is what the system leaves of the processor's speed: less than 100 where
    heat takes some.
    """

    source: PowerSource | None = None
    charge_percent: int | None = None
    low_power_mode: bool | None = None
    thermal: ThermalState | None = None
    speed_limit_percent: int | None = None

    @property
    def is_throttled(self) -> bool:
        """True if the system says that heat takes speed."""
        is_hot = self.thermal is not None and self.thermal.level >= ThermalState.SERIOUS.level
        return is_hot or self.is_limited

    @property
    def is_limited(self) -> bool:
        """True if the system limits the processor's speed."""
        return (
            self.speed_limit_percent is not None and self.speed_limit_percent < _FULL_SPEED_PERCENT
        )


@dataclass(frozen=True, slots=True)
class PowerTrace:
    """The states at the start and the end of a trial, and the worst of each value in between."""

    start: PowerState
    worst: PowerState
    end: PowerState

    @classmethod
    def of(cls, states: Iterable[PowerState]) -> PowerTrace | None:
        """That of `states`, in order; None where none of them knows anything."""
        seen = list(states)
        if all(each == PowerState() for each in seen):
            return None
        worst = PowerState(
            source=_first_of(("battery", "mains"), [each.source for each in seen]),
            charge_percent=_chosen(min, [each.charge_percent for each in seen]),
            low_power_mode=_chosen(max, [each.low_power_mode for each in seen]),
            thermal=_first_of(reversed(ThermalState), [each.thermal for each in seen]),
            speed_limit_percent=_chosen(min, [each.speed_limit_percent for each in seen]),
        )
        return cls(seen[0], worst, seen[-1])

    @property
    def warnings(self) -> list[str]:
        """What made its steps slower than the machine can be."""
        found, worst = [], self.worst
        if worst.is_throttled:
            signs = []
            if worst.thermal is not None and worst.thermal is not ThermalState.NOMINAL:
                signs.append(f"thermal state {worst.thermal}")
            if worst.is_limited:
                signs.append(f"speed limited to {worst.speed_limit_percent} %")
            hot = f"the machine was throttled by heat ({', '.join(signs)})"
            found.append(f"{hot}: let it cool, and measure it again")
        if worst.source == "battery" and self.start.source == "mains":
            found.append("it went on battery: connect the charger, and measure it again")
        if worst.low_power_mode and self.start.low_power_mode is False:
            found.append("low-power mode came on: switch it off, and measure it again")
        return found


def _first_of(order: Iterable[_T], values: Iterable[_T | None]) -> _T | None:
    """The first of `order` that is among `values`."""
    there = set(values)
    return next((each for each in order if each in there), None)


def _chosen(choose: Callable[[list[Any]], _T], values: Iterable[_T | None]) -> _T | None:
    known = [each for each in values if each is not None]
    return choose(known) if known else None

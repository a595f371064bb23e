"""Facts of a Mac, from what its programs print."""

from __future__ import annotations

import pytest

from pytest_yourai.core.power import PowerState, ThermalState
from pytest_yourai.machine.mac import (
    display_is_on,
    gpu_cores,
    power_notes,
    wired_limit_bytes,
    wired_limit_note,
)

GIB = 1 << 30

# As `system_profiler SPDisplaysDataType` prints them.
BUILT_IN = """Graphics/Displays:

    Apple M3 Max:

      Chipset Model: Apple M3 Max
      Type: GPU
      Bus: Built-In
      Total Number of Cores: 40
      Vendor: Apple (0x106b)
      Metal Support: Metal 3
      Displays:
        Color LCD:
          Display Type: Built-in Liquid Retina XDR Display
          Resolution: 3456 x 2234 Retina
          Main Display: Yes
          Mirror: Off
          Online: Yes
          Automatically Adjust Brightness: Yes
          Connection Type: Internal
"""
ASLEEP = BUILT_IN.replace("Mirror: Off", "Display Asleep: Yes\n          Mirror: Off")
EXTERNAL = """        LG HDR 4K:
          Resolution: 3840 x 2160 (2160p/4K UHD 1 - Ultra High Definition)
          Mirror: Off
          Online: Yes
          Rotation: Supported
"""
HEADLESS = BUILT_IN[: BUILT_IN.index("      Displays:")]


@pytest.mark.parametrize(
    ("text", "is_on"),
    [
        (BUILT_IN, True),
        (ASLEEP, False),
        (ASLEEP + EXTERNAL, True),
        (HEADLESS, False),
        ("", None),
    ],
)
def test_a_display_is_on(text: str, is_on: bool | None) -> None:
    assert display_is_on("darwin", lambda *_: text) is is_on
    assert display_is_on("linux", lambda *_: text) is None


@pytest.mark.parametrize(("text", "cores"), [(BUILT_IN, 40), (HEADLESS, 40), ("", None)])
def test_the_cores_of_the_gpu(text: str, cores: int | None) -> None:
    assert gpu_cores("darwin", lambda *_: text) == cores
    assert gpu_cores("linux", lambda *_: text) is None


@pytest.mark.parametrize(
    ("text", "limit"),
    [("0\n", None), ("26624\n", 26624 << 20), ("124518\n", 130566586368), ("", None), ("-1", None)],
)
def test_the_wired_limit(text: str, limit: int | None) -> None:
    def read(*command: str) -> str:
        assert command == ("sysctl", "-n", "iogpu.wired_limit_mb")
        return text

    assert wired_limit_bytes("darwin", read) == limit
    assert wired_limit_bytes("linux", read) is None


def test_a_wired_limit_that_was_raised_is_told() -> None:
    assert wired_limit_note(None, 32 * GIB) is None
    note = wired_limit_note(26624 << 20, 32 * GIB)
    assert note == (
        "iogpu.wired_limit_mb was set by hand to 26624 (27.9 GB): the budget follows it until the "
        "next restart"
    )
    close = wired_limit_note(130566586368, 128 * GIB) or ""
    assert "leaves the system 6.9 GB" in close
    assert "sudo sysctl iogpu.wired_limit_mb=0" in close


def test_power_and_heat_at_the_start_are_told() -> None:
    assert list(power_notes(PowerState())) == []
    assert list(power_notes(PowerState("mains", 80, False, ThermalState.NOMINAL, 100))) == []
    on_battery, low = power_notes(PowerState("battery", 54, True))
    assert on_battery == "running on battery (54 %): step times may be longer than on mains"
    assert low.startswith("low-power mode is on")
    assert next(power_notes(PowerState("battery"))).startswith("running on battery: ")
    assert "is hot" in next(power_notes(PowerState(thermal=ThermalState.SERIOUS)))
    assert "is hot" in next(power_notes(PowerState(speed_limit_percent=60)))
    assert "is warm" in next(power_notes(PowerState(thermal=ThermalState.FAIR)))

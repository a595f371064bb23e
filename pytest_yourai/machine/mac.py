"""Facts of a Mac: its wired limit, the cores of its GPU, whether a display is on, its power.

Each is read by one of the system's programs, without special rights; None elsewhere.
"""

from __future__ import annotations

import functools
import re
import sys
from collections.abc import Iterator

from pytest_yourai.core.power import PowerState, ThermalState
from pytest_yourai.core.units import gigabytes
from pytest_yourai.machine.commands import Command, output_of

_MEBIBYTE = 1 << 20

_LEAST_FOR_THE_SYSTEM = 0.08
"""Share of a Mac's memory, below which the header warns: an assumption."""


def wired_limit_bytes(platform_name: str = sys.platform, read: Command = output_of) -> int | None:
    """The most that the GPU may wire, where somebody has set it by hand; None by default.

    The sysctl is 0 then. The working set that Metal recommends follows it.
    """
    if platform_name != "darwin":
        return None
    text = read("sysctl", "-n", "iogpu.wired_limit_mb").strip()
    return int(text) * _MEBIBYTE if re.fullmatch(r"[1-9]\d{0,8}", text) else None


def display_is_on(platform_name: str = sys.platform, read: Command = output_of) -> bool | None:
    """True if a display shows something; None where that is not known."""
    if platform_name != "darwin":
        return None
    text = read("system_profiler", "SPDisplaysDataType")
    if not text.strip():
        return None
    return text.count("Online: Yes") > text.count("Display Asleep: Yes")


@functools.cache
def gpu_cores(platform_name: str = sys.platform, read: Command = output_of) -> int | None:
    """The cores of a Mac's GPU, which its chip's name does not tell; None where not known."""
    if platform_name != "darwin":
        return None
    found = re.search(
        r"Total Number of Cores:\s*(\d{1,4})\b", read("system_profiler", "SPDisplaysDataType")
    )
    return int(found[1]) if found else None


def wired_limit_note(limit_bytes: int | None, total_bytes: int) -> str | None:
    """The line about a wired limit that was set by hand."""
    if limit_bytes is None:
        return None
    limit_mb = limit_bytes // _MEBIBYTE
    note = f"iogpu.wired_limit_mb was set by hand to {limit_mb} ({gigabytes(limit_bytes)})"
    left = total_bytes - limit_bytes
    if left < _LEAST_FOR_THE_SYSTEM * total_bytes:
        return (
            f"{note}, which leaves the system {gigabytes(max(0, left))}: it may page or "
            "freeze; lower it, or undo it with sudo sysctl iogpu.wired_limit_mb=0"
        )
    return f"{note}: the budget follows it until the next restart"


def power_notes(now: PowerState) -> Iterator[str]:
    """Lines about power and heat at the start of a run."""
    if now.source == "battery":
        charge = "" if now.charge_percent is None else f" ({now.charge_percent} %)"
        yield f"running on battery{charge}: step times may be longer than on mains"
    if now.low_power_mode:
        yield "low-power mode is on: step times will be longer; switch it off in System Settings"
    if now.is_throttled:
        yield "the machine is hot and slows down already: let it cool first"
    elif now.thermal is ThermalState.FAIR:
        yield "the machine is warm: step times may become longer"

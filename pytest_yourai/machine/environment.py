"""The machine, its power and the versions that a sweep runs on. Works without MLX."""

from __future__ import annotations

import functools
import importlib.metadata
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from pytest_yourai.core.checkouts import checkout_notes, checkouts, path_entries
from pytest_yourai.core.conditions import Environment
from pytest_yourai.core.device import Backend, DeviceInfo
from pytest_yourai.machine.launch import is_launch_variable, left_behind

_COMMAND_TIMEOUT_S = 5

_MEMORY_TOLERANCE = 0.05
"""Share by which one machine's own memory may differ from one start to the next."""


@functools.cache
def versions() -> Mapping[str, str]:
    """Versions of the packages that measurements depend on."""
    found = {"python": platform.python_version()}
    for name in ("pytest-yourai", "mlx", "mlx-lm"):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    for each in checkouts(path_entries(os.environ.get("PYTHONPATH"))):
        if each.name in found:
            found[each.name] = each.version
    return found


@functools.cache
def installed_backend() -> Backend:
    """The backend that MLX would use, by what is installed: asking MLX would take its import."""
    if sys.platform == "darwin":
        return "metal"
    names = {each.metadata["Name"] for each in importlib.metadata.distributions()}
    return "cuda" if any(name.startswith("mlx-cuda") for name in names if name) else "cpu"


@functools.cache
def chip(platform_name: str = sys.platform) -> str:
    """`Apple M3 Max` on a Mac, the processor's model name on Linux."""
    if platform_name == "darwin":
        return _output_of("sysctl", "-n", "machdep.cpu.brand_string").strip() or "unknown"
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return "unknown"
    match = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    return match.group(1).strip() if match else platform.machine()


@dataclass(frozen=True, slots=True)
class Boot:
    """The machine's last start: `boot_id` where the system names it, and Unix seconds."""

    boot_id: str | None
    started_at: float

    def is_later_than(self, boot_id: str | None, at: float) -> bool:
        """True if the machine was started again since `at`, when its boot was `boot_id`.

        Names count for more than times, since clocks are set.
        """
        if boot_id is not None and self.boot_id is not None:
            return boot_id != self.boot_id
        return self.started_at > at


def last_boot(platform_name: str = sys.platform) -> Boot:
    if platform_name == "darwin":
        name = _output_of("sysctl", "-n", "kern.bootsessionuuid").strip()
    else:
        try:
            name = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        except OSError:
            name = ""
    return Boot(name or None, psutil.boot_time())


_VARIABLES = ("BLIS_", "GOMP_", "KMP_", "MKL_", "MLX_", "OMP_", "OPENBLAS_", "VECLIB_")
"""Beginnings of the names of variables that change what MLX and the libraries below it do."""

_LONGEST_VALUE = 200


def variables(values: Mapping[str, str]) -> dict[str, str]:
    """Those of the environment `values` that measurements depend on, and that a worker gets."""
    return {
        name: values[name][:_LONGEST_VALUE]
        for name in sorted(values)
        if name.startswith((*_VARIABLES, "CUDA_VISIBLE_DEVICES")) and not is_launch_variable(name)
    }


def notes(values: Mapping[str, str]) -> list[str]:
    """What the user may not expect of the environment `values`, and what becomes of it."""
    launched = left_behind(values)
    on_path = checkout_notes(path_entries(values.get("PYTHONPATH")))
    return [*filter(None, [launched]), *on_path]


def machine_info() -> dict[str, Any]:
    """The fields that pytest-benchmark keeps in a saved run beside its own."""
    return {"chip": chip(), "versions": dict(versions())}


def describe(device: DeviceInfo) -> Environment:
    """The profile's `environment`: this machine, with `device`."""
    return Environment(
        chip=chip(),
        backend=device.backend,
        device=device.name,
        device_memory_bytes=device.memory_bytes,
        system_memory_bytes=psutil.virtual_memory().total,
        system=platform.platform(),
        versions=dict(versions()),
        power_source=power_source(),
        low_power_mode=low_power_mode(),
        variables=variables(os.environ),
    )


def is_other_memory(count_bytes: int, than_bytes: int) -> bool:
    """True if so much memory shows that it is another machine."""
    return abs(count_bytes - than_bytes) > _MEMORY_TOLERANCE * than_bytes


def power_source(platform_name: str = sys.platform) -> str | None:
    """`battery`, `mains`, or None on machines without a battery."""
    if platform_name == "darwin":
        # Its first line: Now drawing from 'AC Power'
        match = re.search(r"drawing from '([^']+)'", _output_of("pmset", "-g", "batt"))
        return match and ("battery" if match[1] == "Battery Power" else "mains")
    battery = psutil.sensors_battery()
    if battery is None or battery.power_plugged is None:
        return None
    return "mains" if battery.power_plugged else "battery"


def low_power_mode(platform_name: str = sys.platform) -> bool | None:
    """True if macOS saves energy at the cost of speed; None elsewhere."""
    if platform_name != "darwin":
        return None
    # `powermode 1` on newer systems.
    pattern = r"^\s*(?:lowpowermode|powermode)\s+(\d)"
    match = re.search(pattern, _output_of("pmset", "-g"), re.MULTILINE)
    return match and match[1] == "1"


def keep_awake(platform_name: str = sys.platform) -> subprocess.Popen[bytes] | None:
    """Keep a Mac from sleeping until this process ends, or the returned one is ended."""
    program = shutil.which("caffeinate") if platform_name == "darwin" else None
    if program is None:
        return None
    return subprocess.Popen(
        [program, "-i", "-m", "-w", str(os.getpid())],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def _output_of(*command: str) -> str:
    try:
        return subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=_COMMAND_TIMEOUT_S
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return ""

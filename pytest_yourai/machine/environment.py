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
from pytest_yourai.core.mlx_versions import memory_notes
from pytest_yourai.machine.commands import output_of
from pytest_yourai.machine.launch import is_launch_variable, left_behind
from pytest_yourai.machine.mac import gpu_cores, power_notes, wired_limit_bytes, wired_limit_note
from pytest_yourai.machine.power import read_power

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
    # By the names of folders: to read the metadata of all that is installed takes a while.
    found = (Path(entry).glob("mlx_cuda*.dist-info") for entry in sys.path)
    return "cuda" if any(map(any, found)) else "cpu"


@functools.cache
def chip(platform_name: str = sys.platform) -> str:
    """`Apple M3 Max` on a Mac, the processor's model name on Linux."""
    if platform_name == "darwin":
        return output_of("sysctl", "-n", "machdep.cpu.brand_string").strip() or "unknown"
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
        name = output_of("sysctl", "-n", "kern.bootsessionuuid").strip()
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
    """What the user may not expect of this machine and the environment `values`."""
    launched = left_behind(values)
    on_path = checkout_notes(path_entries(values.get("PYTHONPATH")))
    limit_note = wired_limit_note(wired_limit_bytes(), psutil.virtual_memory().total)
    return [
        *power_notes(read_power()),
        *filter(None, [limit_note, launched]),
        *on_path,
        *memory_notes(versions(), installed_backend()),
    ]


def machine_info() -> dict[str, Any]:
    """The fields that pytest-benchmark keeps in a saved run beside its own."""
    return {"chip": chip(), "versions": dict(versions())}


def describe(device: DeviceInfo) -> Environment:
    """The profile's `environment`: this machine, with `device`."""
    power = read_power()
    return Environment(
        chip=chip(),
        backend=device.backend,
        device=device.name,
        gpu_cores=gpu_cores(),
        device_memory_bytes=device.memory_bytes,
        system_memory_bytes=psutil.virtual_memory().total,
        system=platform.platform(),
        versions=dict(versions()),
        power_source=power.source,
        low_power_mode=power.low_power_mode,
        variables=variables(os.environ),
    )


def is_other_memory(count_bytes: int, than_bytes: int) -> bool:
    """True if so much memory shows that it is another machine."""
    return abs(count_bytes - than_bytes) > _MEMORY_TOLERANCE * than_bytes


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

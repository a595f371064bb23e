"""What the system's own tools say a process holds, by another way than the guard's. Bytes."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path

from pytest_yourai.machine.commands import Command, output_of

_UNITS = {"B": 1, "KB": 1 << 10, "MB": 1 << 20, "GB": 1 << 30}

_MIB = 1 << 20


def tool_name(*, has_own_memory: bool, platform: str = sys.platform) -> str:
    """What is asked: of a process, or of a device with memory of its own."""
    if has_own_memory:
        return "nvidia-smi"
    return "footprint" if platform == "darwin" else "/proc/PID/smaps_rollup"


def read_system_footprint(
    pid: int, *, has_own_memory: bool, platform: str = sys.platform, run: Command = output_of
) -> int | None:
    """The footprint of the process, or what is in use of the CUDA device; None if not known."""
    if has_own_memory:
        index = _device_index(os.environ)
        return parse_nvidia_smi(
            run(
                *("nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits"),
                *("-i", index),
            )
        )
    if platform == "darwin":
        return parse_footprint(run("footprint", "-f", "bytes", str(pid)))
    try:
        return parse_rollup(Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None


def parse_rollup(text: str) -> int | None:
    """Resident bytes in a Linux `smaps_rollup`, whose line is `Rss:  123456 kB`."""
    found = re.search(r"^Rss:\s+(\d+) kB$", text, re.MULTILINE)
    return int(found[1]) << 10 if found else None


def parse_footprint(text: str) -> int | None:
    """The physical footprint in the output of macOS's `footprint`.

    Its head ends in `Footprint: 123456 B (16384 bytes per page)`, without `-f bytes` in `118 MB`.
    """
    found = re.search(r"\bFootprint:\s+([\d.]+)\s+([KMG]?B)\b", text)
    return round(float(found[1]) * _UNITS[found[2]]) if found else None


def parse_nvidia_smi(text: str) -> int | None:
    """Used memory of the first device in the output of `nvidia-smi`, a number of MiB a line."""
    found = re.match(r"\s*(\d+)\s*$", text, re.MULTILINE)
    return int(found[1]) * _MIB if found else None


def _device_index(environment: Mapping[str, str]) -> str:
    """The device that MLX uses: the first that CUDA shows to it, by index or UUID."""
    visible = environment.get("CUDA_VISIBLE_DEVICES", "").split(",")[0].strip()
    return visible or "0"

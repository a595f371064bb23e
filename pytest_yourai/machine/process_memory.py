"""Memory of one process, as its operating system counts it. Bytes."""

from __future__ import annotations

import ctypes.util
import functools
import resource
import sys
from dataclasses import dataclass
from pathlib import Path

_PAGE_BYTES = resource.getpagesize()


@dataclass(frozen=True, slots=True)
class ProcessMemory:
    """`footprint_bytes`: on Linux resident memory, on macOS the physical footprint.

    Resident memory leaves out what Metal holds; the physical footprint, which Activity Monitor
    shows, has it. `address_space_bytes` is what RLIMIT_AS counts, on Linux alone.
    """

    footprint_bytes: int
    address_space_bytes: int | None = None


def read_process_memory(pid: int, platform: str = sys.platform) -> ProcessMemory | None:
    """None where the process is gone."""
    if platform == "darwin":
        footprint = _physical_footprint_bytes(pid)
        return None if footprint is None else ProcessMemory(footprint)
    try:
        fields = Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()
        return ProcessMemory(int(fields[1]) * _PAGE_BYTES, int(fields[0]) * _PAGE_BYTES)
    except (OSError, ValueError, IndexError):
        return None


def address_space_limit_bytes() -> int | None:
    """RLIMIT_AS of this process, which its children inherit; None where there is none."""
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    return None if limit == resource.RLIM_INFINITY else limit


class ResourceUsage(ctypes.Structure):
    """`struct rusage_info_v0` of macOS's <sys/resource.h>."""

    _fields_ = (
        ("ri_uuid", ctypes.c_uint8 * 16),
        ("ri_user_time", ctypes.c_uint64),
        ("ri_system_time", ctypes.c_uint64),
        ("ri_pkg_idle_wkups", ctypes.c_uint64),
        ("ri_interrupt_wkups", ctypes.c_uint64),
        ("ri_pageins", ctypes.c_uint64),
        ("ri_wired_size", ctypes.c_uint64),
        ("ri_resident_size", ctypes.c_uint64),
        ("ri_phys_footprint", ctypes.c_uint64),
        ("ri_proc_start_abstime", ctypes.c_uint64),
        ("ri_proc_exit_abstime", ctypes.c_uint64),
    )


_RUSAGE_INFO_V0 = 0


@functools.cache
def _libproc() -> ctypes.CDLL:
    return ctypes.CDLL(ctypes.util.find_library("proc") or "libproc.dylib", use_errno=True)


def _physical_footprint_bytes(pid: int) -> int | None:
    usage = ResourceUsage()
    failed = _libproc().proc_pid_rusage(pid, _RUSAGE_INFO_V0, ctypes.byref(usage))
    return None if failed else int(usage.ri_phys_footprint)

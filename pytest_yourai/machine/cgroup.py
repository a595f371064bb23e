"""The memory cgroups that a process lives in: the limits of containers, on Linux. Bytes."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

_PROC = Path("/proc")

_UNLIMITED_BYTES = 1 << 60
"""Version 1 says "no limit" with a number just under 2⁶³."""

_FLAGS_AFTER_THE_NAME = 6
"""Index of the flags in /proc/PID/stat, from the field after the name on: proc(5)."""

_PF_EXITING = 0x4


@dataclass(frozen=True, slots=True)
class _Layout:
    """Files of one version, and the lines of /proc with its path, its root and its folder."""

    limit: str
    usage: str
    events: str
    cached: tuple[str, str]
    membership: re.Pattern[str]
    mount: re.Pattern[str]


_MOUNT = r"^\S+ \S+ \S+ (\S+) (\S+) .*- "
"""Begin of a line of mountinfo: proc(5)."""

_LAYOUTS: Mapping[int, _Layout] = {
    1: _Layout(
        limit="memory.limit_in_bytes",
        usage="memory.usage_in_bytes",
        events="memory.oom_control",
        cached=("total_inactive_file", "total_active_file"),
        membership=re.compile(r"^\d+:(?:[^:\n]*,)?memory(?:,[^:\n]*)?:(.+)$", re.MULTILINE),
        mount=re.compile(_MOUNT + r"cgroup \S+ (?:\S*,)?memory(?:,|$)", re.MULTILINE),
    ),
    2: _Layout(
        limit="memory.max",
        usage="memory.current",
        events="memory.events",
        cached=("inactive_file", "active_file"),
        membership=re.compile(r"^0:[^:\n]*:(.+)$", re.MULTILINE),
        mount=re.compile(_MOUNT + r"cgroup2 \S+ ", re.MULTILINE),
    ),
}


@dataclass(frozen=True, slots=True)
class MemoryCgroup:
    """The cgroup of a process and those above it, whose limits hold as well; its own first.

    Readable after the process is gone, which is when its kills matter. Kernel documentation:
    cgroup-v1/memory.rst and cgroup-v2.rst.
    """

    version: Literal[1, 2]
    folders: tuple[Path, ...]

    @classmethod
    def of(cls, pid: int, proc: Path = _PROC) -> MemoryCgroup | None:
        """None where there are no cgroups, or the process is gone or about to be.

        Version 1 shows a process that is ending in the root (cgroup_exit of the kernel), whose
        limits and kills are not those it had.
        """
        try:
            memberships = (proc / str(pid) / "cgroup").read_text(encoding="utf-8")
            if _is_ending(proc / str(pid) / "stat"):
                return None
            mounts = (proc / str(os.getpid()) / "mountinfo").read_text(encoding="utf-8")
        except (OSError, ValueError):
            return None
        version: Literal[1, 2]
        for version in (1, 2):
            path = _LAYOUTS[version].membership.search(memberships)
            mount = _LAYOUTS[version].mount.search(mounts)
            if path and mount:
                return cls(version, _folders(path[1], PurePosixPath(mount[1]), Path(mount[2])))
        return None

    @property
    def _layout(self) -> _Layout:
        return _LAYOUTS[self.version]

    def limit_bytes(self) -> int | None:
        """The lowest limit; None where there is none."""
        limits = (self._limit_bytes(folder) for folder in self.folders)
        return min((limit for limit in limits if limit is not None), default=None)

    def available_bytes(self) -> int | None:
        """The memory that may still be allocated under all limits, cached files being given up."""
        left = []
        for folder in self.folders:
            limit = self._limit_bytes(folder)
            usage = _number(folder / self._layout.usage)
            if limit is not None and usage is not None:
                left.append(max(0, limit - usage + self._cached_files_bytes(folder)))
        return min(left, default=None)

    def oom_kills(self) -> int | None:
        """Processes that the kernel ended for lack of memory; None where it does not say."""
        return read_entry(self.folders[0] / self._layout.events, "oom_kill")

    def _cached_files_bytes(self, folder: Path) -> int:
        stat = folder / "memory.stat"
        return sum(read_entry(stat, name) or 0 for name in self._layout.cached)

    def _limit_bytes(self, folder: Path) -> int | None:
        limit = _number(folder / self._layout.limit)
        return limit if limit is not None and limit < _UNLIMITED_BYTES else None


def _is_ending(stat: Path) -> bool:
    """True if the kernel has begun to remove the process; its name may hold any character."""
    fields = stat.read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    return bool(int(fields[_FLAGS_AFTER_THE_NAME]) & _PF_EXITING)


def _folders(path: str, root: PurePosixPath, mounted_at: Path) -> tuple[Path, ...]:
    """From the process's own cgroup up to the mount; a path from outside it means the mount."""
    own = PurePosixPath(path)
    inside = own.relative_to(root) if own.is_relative_to(root) else own.relative_to("/")
    folder = mounted_at / inside
    if ".." in inside.parts or not folder.is_dir():
        folder = mounted_at
    levels = len(folder.relative_to(mounted_at).parts)
    return (folder, *folder.parents[:levels])


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None


def read_entry(path: Path, name: str) -> int | None:
    """The number in the line `NAME NUMBER` of one of the kernel's files; None without one."""
    try:
        lines = path.read_text(encoding="ascii").splitlines()
        return next((int(line.split()[1]) for line in lines if line.startswith(f"{name} ")), None)
    except (OSError, ValueError, IndexError):
        return None

"""The memory cgroups that a process lives in: the limits of containers, on Linux. Bytes."""

from __future__ import annotations

import contextlib
import os
import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

_PROC = Path("/proc")

_UNLIMITED_BYTES = 1 << 60
"""Version 1 has a number just under 2⁶³ for no limit."""

_FLAGS_AFTER_THE_NAME = 6
"""Index of the flags in /proc/PID/stat, from the field after the name on: proc(5)."""

_PF_EXITING = 0x4


_MOUNT = r"^\S+ \S+ \S+ (\S+) (\S+) .*- "
"""Begin of a line of mountinfo: proc(5)."""

_HIERARCHIES = (
    (
        re.compile(r"^\d+:(?:[^:\n]*,)?memory(?:,[^:\n]*)?:(.+)$", re.MULTILINE),
        re.compile(_MOUNT + r"cgroup \S+ (?:\S*,)?memory(?:,|$)", re.MULTILINE),
    ),
    (
        re.compile(r"^0:[^:\n]*:(.+)$", re.MULTILINE),
        re.compile(_MOUNT + r"cgroup2 \S+ ", re.MULTILINE),
    ),
)
"""For versions 1 and 2 the lines of /proc with a process's path, and with the mount of its root."""


@dataclass(frozen=True, slots=True)
class MemoryCgroup:
    """The cgroup of a process and those above it, whose limits hold as well; its own first.

    Readable after the process is gone, which is when its kills matter. Kernel documentation:
    cgroup-v1/memory.rst and cgroup-v2.rst.
    """

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
        for membership, mount in _HIERARCHIES:
            path, mounted = membership.search(memberships), mount.search(mounts)
            if path and mounted:
                return cls(_folders(path[1], PurePosixPath(mounted[1]), Path(mounted[2])))
        return None

    def limit_bytes(self) -> int | None:
        """The lowest limit; None where there is none."""
        limits = (_limit_bytes(folder) for folder in self.folders)
        return min((limit for limit in limits if limit is not None), default=None)

    def available_bytes(self) -> int | None:
        """The memory that may still be allocated under all limits, cached files being given up."""
        left = []
        for folder in self.folders:
            limit = _limit_bytes(folder)
            usage = _number(folder, "memory.current", "memory.usage_in_bytes")
            if limit is not None and usage is not None:
                left.append(max(0, limit - usage + _cached_files_bytes(folder)))
        return min(left, default=None)

    def oom_kills(self) -> int | None:
        """Processes that the kernel ended for lack of memory; None where it does not report it."""
        files = (self.folders[0] / name for name in ("memory.events", "memory.oom_control"))
        kills = (read_entry(file, "oom_kill") for file in files)
        return next((count for count in kills if count is not None), None)


def _limit_bytes(folder: Path) -> int | None:
    limit = _number(folder, "memory.max", "memory.limit_in_bytes")
    return limit if limit is not None and limit < _UNLIMITED_BYTES else None


def _cached_files_bytes(folder: Path) -> int:
    """Bytes of the folder and those below it, which version 1 counts in entries of their own."""
    stat = folder / "memory.stat"
    found = (
        (read_entry(stat, f"total_{name}"), read_entry(stat, name))
        for name in ("inactive_file", "active_file")
    )
    return sum(own or 0 if total is None else total for total, own in found)


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


def _number(folder: Path, *names: str) -> int | None:
    """The number in the first file of these names: version 2 has one, version 1 another."""
    for name in names:
        with contextlib.suppress(OSError, ValueError):
            return int((folder / name).read_text(encoding="ascii"))
    return None


def read_entry(path: Path, name: str) -> int | None:
    """The number in the line `NAME NUMBER` of one of the kernel's files; None without one."""
    try:
        lines = path.read_text(encoding="ascii").splitlines()
        return next((int(line.split()[1]) for line in lines if line.startswith(f"{name} ")), None)
    except (OSError, ValueError, IndexError):
        return None

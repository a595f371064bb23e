"""Cgroups for the processes of tests: with little memory, or with a part of a processor."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

_PERIOD_US = 5000
"""Short: what waits for the next period waits no longer than this."""


@contextlib.contextmanager
def made_cgroup() -> Iterator[Path]:
    """A memory cgroup of 100 MB, v1 or v2; skips the test where this machine lets us make none."""
    most = "100000000"
    v1 = {"memory.limit_in_bytes": most}
    with _made("memory", "memory", v1, {"memory.max": most}) as folder:
        yield folder


@contextlib.contextmanager
def made_slow_cgroup(name: str, share: float) -> Iterator[Path]:
    """One whose processes together get `share` of a processor, and no less beside others.

    v1 or v2; skips the test where this machine lets us make none.
    """
    quota = round(share * _PERIOD_US)
    v1 = {"cpu.cfs_period_us": f"{_PERIOD_US}", "cpu.cfs_quota_us": f"{quota}"}
    v2 = {"cpu.max": f"{quota} {_PERIOD_US}", "cpu.weight": "5000"}
    with _made("cpu", name, {**v1, "cpu.shares": "50000"}, v2) as folder:
        yield folder


@contextlib.contextmanager
def _made(
    controller: str, name: str, v1: Mapping[str, str], v2: Mapping[str, str]
) -> Iterator[Path]:
    for root, limits in ((controller, v1), ("", v2)):
        folder = Path("/sys/fs/cgroup") / root / f"yourai-test-{os.getpid()}-{name}"
        try:
            folder.mkdir()
        except OSError:
            continue
        try:
            for file, text in limits.items():
                (folder / file).write_text(text)
        except OSError:
            folder.rmdir()
            continue
        try:
            yield folder
        finally:
            _remove_when_empty(folder)
        return
    pytest.skip(f"no {controller} cgroup can be made here")


def _remove_when_empty(folder: Path) -> None:
    for _ in range(100):
        try:
            folder.rmdir()
        except OSError:
            time.sleep(0.05)
        else:
            return

"""Memory cgroups for the processes of tests."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest


@contextlib.contextmanager
def made_cgroup() -> Iterator[Path]:
    """A memory cgroup of 100 MB, v1 or v2; skips the test where this machine lets us make none."""
    for root, limit in (("memory", "memory.limit_in_bytes"), ("", "memory.max")):
        folder = Path("/sys/fs/cgroup") / root / f"yourai-test-{os.getpid()}"
        try:
            folder.mkdir()
        except OSError:
            continue
        try:
            (folder / limit).write_text("100000000")
        except OSError:
            folder.rmdir()
            continue
        try:
            yield folder
        finally:
            _remove_when_empty(folder)
        return
    pytest.skip("no memory cgroup can be made here")


def _remove_when_empty(folder: Path) -> None:
    for _ in range(100):
        try:
            folder.rmdir()
        except OSError:
            time.sleep(0.05)
        else:
            return

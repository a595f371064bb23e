"""Fixtures of every tier, and the settings of Hypothesis."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from support.hub import hub_cache

__all__ = ["hub_cache"]

# Machines are shared: an example may take long for no reason of its own.
settings.register_profile("no-deadline", deadline=None)
settings.load_profile("no-deadline")


@pytest.fixture(autouse=True)
def _no_job(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests that run as a job on GitHub append nothing to its summary."""
    monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)


@pytest.fixture
def small_cgroup() -> Iterator[Path]:
    """A memory cgroup of 100 MB, v1 or v2, where this machine lets us make one."""
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
        yield folder
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

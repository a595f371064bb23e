"""A job on GitHub runs the tests, and their sweeps are none of its own."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def no_job(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a sweep measures is not appended to the summary of the job."""
    monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)

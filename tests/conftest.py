"""What holds for all tests."""

import pytest


@pytest.fixture(autouse=True)
def _no_summary_of_the_job(monkeypatch: pytest.MonkeyPatch) -> None:
    """On GitHub the sweeps of tests are none of the job's own."""
    monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)

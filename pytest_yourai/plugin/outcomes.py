"""From outcomes of trials and soaks to pytest's skipped, xfailed and failed."""

from __future__ import annotations

import pytest

from pytest_yourai.core.outcomes import Outcome
from pytest_yourai.core.results import TrialResult
from pytest_yourai.core.soak_results import Soak
from pytest_yourai.plan.stages import Stage


def raise_outcome(result: TrialResult) -> None:
    """Raise pytest's outcome of a trial, if it is not ok."""
    reason = f"{result.outcome}: {result.error}"
    if result.outcome in (Outcome.SKIPPED, Outcome.UNAVAILABLE):
        pytest.skip(reason)
    if result.outcome.is_memory_failure:
        raise pytest.xfail.Exception(reason)
    if result.outcome.is_failure:
        pytest.fail(reason, pytrace=False)


def raise_soak_outcome(soak: Soak, stage: Stage) -> None:
    """Raise pytest's outcome of a soak; a failure that memory does not explain comes first."""
    if not soak.results:
        pytest.skip(f"nothing to soak: no configuration of {stage.name} was measured and fits")
    if soak.survivor is not None:
        return
    unexplained = [each for each in soak.results if each.outcome.is_failure]
    worst = (unexplained or soak.results)[0]
    reason = f"no configuration survived; {worst.config}: {worst.outcome}: {worst.error}"
    if unexplained:
        pytest.fail(reason, pytrace=False)
    raise pytest.xfail.Exception(reason)

"""Results of trials and soaks in the reports that pytest hands from item to controller."""

from __future__ import annotations

import functools

import pytest

from pytest_yourai.core.results import Outcome
from pytest_yourai.sweep.run_results import PROPERTY, SOAK_PROPERTY, SoakReport, TrialReport


def trial_report(report: pytest.TestReport) -> TrialReport | None:
    """The trial in `report`, None for other tests and other phases."""
    text = _property(report, PROPERTY)
    return None if text is None else _parse_trial(text)


def soak_report(report: pytest.TestReport) -> SoakReport | None:
    """The soaks in `report`, None for other tests and other phases."""
    text = _property(report, SOAK_PROPERTY)
    return None if text is None else SoakReport.from_json(text)


def reported_outcome(report: pytest.TestReport) -> Outcome | None:
    """The outcome of the trial, or of the last soak, in `report`."""
    if (trial := trial_report(report)) is not None:
        return trial.result.outcome
    soak = soak_report(report)
    return None if soak is None else soak.results[-1].outcome


@functools.lru_cache(maxsize=1)
def _parse_trial(text: str) -> TrialReport:
    """Two hooks read each report in turn; the lengths of all training rows may be in it."""
    return TrialReport.from_json(text)


def _property(report: pytest.TestReport, wanted: str) -> str | None:
    if report.when != "call":
        return None
    return next((str(value) for name, value in report.user_properties if name == wanted), None)

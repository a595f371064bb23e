"""What Macs were reported to take, against what is predicted for mlx_lm.lora there."""

from __future__ import annotations

import pytest

from pytest_yourai.plan.recommendation import Verdict

from support.metal_reports import GIB, NARROW, MetalReport, metal_reports

REPORTS = [report for report in metal_reports() if report.is_of_current_mlx]
EXACT = [report for report in REPORTS if report.row["class"] == "A"]
BRACKETED = [
    report for report in REPORTS if report.row["class"] in ("B", "C") and report.bracket < NARROW
]
OF_KNOWN_MACS = [report for report in metal_reports() if report.row["ram_gib"]]
SUCCESSES = [report for report in OF_KNOWN_MACS if report.row["outcome"].startswith("ok")]
IN_TROUBLE = [
    report
    for report in OF_KNOWN_MACS
    if "swap" in report.row["outcome"] or "crashed" in report.row["outcome"]
]


@pytest.mark.parametrize("report", EXACT, ids=str)
def test_reports_of_exact_length_are_met(report: MetalReport) -> None:
    assert 0.9 <= report.ratio <= 1.1


def test_nine_of_ten_reports_of_nearly_known_length_are_met() -> None:
    good = [0.85 <= report.ratio <= 1.15 for report in BRACKETED]
    assert len(good) >= 8
    assert sum(good) / len(good) >= 0.9


@pytest.mark.parametrize("report", [*EXACT, *BRACKETED], ids=str)
def test_no_report_of_known_settings_contradicts_the_conservative_estimate(
    report: MetalReport,
) -> None:
    estimate = report.estimate(report.longest)
    assert report.reported_bytes <= estimate.conservative_bytes
    assert estimate.conservative_bytes == estimate.conservative_peak_bytes


@pytest.mark.parametrize("report", REPORTS, ids=str)
def test_what_it_takes_is_above_what_it_needs(report: MetalReport) -> None:
    estimate = report.estimate(report.longest)
    assert estimate.minimum_bytes < estimate.peak_bytes < estimate.conservative_peak_bytes


@pytest.mark.parametrize("report", SUCCESSES, ids=str)
def test_no_success_is_refused_where_the_budget_leaves_room(report: MetalReport) -> None:
    assert not report.is_refused(report.budget_bytes)
    assert not report.is_refused(report.row["ram_gib"] * GIB), "with --yourai-max-memory"


@pytest.mark.parametrize("report", IN_TROUBLE, ids=str)
def test_what_swapped_or_crashed_is_told_beforehand(report: MetalReport) -> None:
    assert report.verdict is not Verdict.FITS

"""How good are predictions of what mlx_lm.lora takes on Metal?

python tests/performance/metal_reports.py [FILE]

Against what people reported of their Macs (tests/data/metal_reports.json, or a FILE in its form).
Rows whose length is known to an interval count where predictions for its ends are less than 25 %
apart. Allowed: reported ÷ predicted from 0.85 to 1.15 in nine of ten, no report of known length and
settings above the conservative estimate, and no failure of known settings that `yourai fit` says
would fit. Then the successes that a sweep refuses with the budget that it finds on that Mac.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from _common import ROOT, table, verdict

sys.path.insert(0, str(ROOT / "tests"))
from pytest_yourai.plan.recommendation import Verdict

from support.metal_reports import FILE, NARROW, MetalReport, metal_failures, metal_reports

LEAST, MOST = 0.85, 1.15
SHARE = 0.9
JUDGED = ("A", "B", "C")


def row(report: MetalReport) -> list[str]:
    ends = [report.estimate(length) for length in (report.shortest, report.longest)]
    return [
        str(report.row["class"]),
        str(report),
        f"{report.reported_bytes / 1e9:.2f}",
        " to ".join(f"{each.minimum_bytes / 1e9:.2f}" for each in ends),
        " to ".join(f"{each.peak_bytes / 1e9:.2f}" for each in ends),
        f"{ends[-1].conservative_bytes / 1e9:.2f}",
        f"{report.ratio:.2f}",
        "yes" if report.bracket < NARROW else "",
    ]


def main() -> None:
    path = Path(sys.argv[1]) if sys.argv[1:] else FILE
    reports = metal_reports(path)
    current = [report for report in reports if report.is_of_current_mlx]
    header = ["class", "report", "GB", "needs", "takes", "conservative", "ratio", "narrow"]
    table(header, [row(report) for report in current])
    narrow = [each for each in current if each.row["class"] in JUDGED and each.bracket < NARROW]
    for name in JUDGED:
        ratios = sorted(each.ratio for each in narrow if each.row["class"] == name)
        if ratios:
            print(f"class {name}: {len(ratios)}, ratios {ratios[0]:.2f} to {ratios[-1]:.2f}")
    good = sum(LEAST <= each.ratio <= MOST for each in narrow)
    share = good / len(narrow)
    print(f"{good} of {len(narrow)} from {LEAST} to {MOST}: {verdict(share >= SHARE)}")
    above = [
        each
        for each in narrow
        if each.reported_bytes > each.estimate(each.longest).conservative_bytes
    ]
    print(f"{len(above)} above the conservative estimate, allowed 0: {verdict(not above)}")
    for each in above:
        print(f"  {each}")
    print_failures(path)
    print_refusals(reports)


def print_failures(path: Path) -> None:
    failures = metal_failures(path)
    if not failures:
        print("no failure of this file has the settings of an estimate")
        return
    untold = [each for each in failures if each.verdict is Verdict.FITS]
    print(f"{len(untold)} of {len(failures)} failures not told, allowed 0: {verdict(not untold)}")
    for each in untold:
        print(f"  {each}")


def print_refusals(reports: Sequence[MetalReport]) -> None:
    known = [each for each in reports if each.row["ram_gib"]]
    successes = [each for each in known if each.row["outcome"].startswith("ok")]
    refused = [each for each in successes if each.is_refused(each.budget_bytes)]
    print(f"{len(refused)} of {len(successes)} successes refused within the default budget")
    for each in refused:
        print(f"  {each}")


if __name__ == "__main__":
    main()

"""How good are predictions of what mlx_lm.lora takes on Metal?

python tests/performance/metal_reports.py [FILE]

Against what people reported of their Macs (tests/data/metal_reports.json, or a FILE in its form).
Rows whose length is known to an interval count where predictions for its ends are less than 25 %
apart. Allowed: reported ÷ predicted from 0.85 to 1.15 in nine of ten, and no report of known length
and settings above the conservative estimate.
"""

from __future__ import annotations

import sys
from pathlib import Path

from _common import ROOT, table, verdict

sys.path.insert(0, str(ROOT / "tests"))
from support.metal_reports import NARROW, MetalReport, metal_reports

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
    reports = metal_reports(Path(sys.argv[1])) if sys.argv[1:] else metal_reports()
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


if __name__ == "__main__":
    main()

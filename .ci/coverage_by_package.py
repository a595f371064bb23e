"""Print how much of each package the tests run.

coverage_by_package.py coverage.json
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path, PurePath

ROOT = "pytest_yourai"


def main(report: str) -> None:
    lines: Counter[str] = Counter()
    missing: Counter[str] = Counter()
    for name, found in json.loads(Path(report).read_text())["files"].items():
        parts = PurePath(name).parts
        below = parts[parts.index(ROOT) + 1 :]
        for package in (below[0], "all"):
            lines[package] += found["summary"]["num_statements"]
            missing[package] += found["summary"]["missing_lines"]
    print("lines that ran, of each package:")
    for package, total in lines.items():
        print(f"{package:20} {total:6,} {100 * (1 - missing[package] / max(1, total)):7.2f} %")


if __name__ == "__main__":
    main(sys.argv[1])

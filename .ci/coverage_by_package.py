"""Print how much of each package the unit tests run; fail where a whole one must run and does not.

coverage_by_package.py coverage.json
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from pathlib import Path, PurePath

ROOT = "pytest_yourai"

WHOLE = ("core", "estimate", "plan", "store")
"""Packages that the unit tests run every line of: they start nothing, and need no MLX."""


def main(report: str) -> None:
    lines: defaultdict[str, int] = defaultdict(int)
    missing: defaultdict[str, list[str]] = defaultdict(list)
    for name, found in json.loads(Path(report).read_text())["files"].items():
        parts = PurePath(name).parts
        below = parts[parts.index(ROOT) + 1 :]
        for package in (below[0], "all"):
            lines[package] += found["summary"]["num_statements"]
            missing[package] += [f"{name}:{line}" for line in found["missing_lines"]]
    print("lines that the unit tests run, of each package:")
    for package, total in lines.items():
        share = 100 * (1 - len(missing[package]) / max(1, total))
        print(f"{package:20} {total:6,} {share:7.2f} %")
    found_problems = (_problem(package, lines[package], missing[package]) for package in WHOLE)
    if problems := [each for each in found_problems if each]:
        sys.exit("\n".join(problems))


def _problem(package: str, total: int, missing: list[str]) -> str | None:
    """What is wrong with the coverage of a package that must be whole; None if nothing is."""
    if not total:
        return f"{ROOT}/{package} was not measured: list the packages there are in WHOLE"
    if not missing:
        return None
    places = "\n  ".join(missing)
    return (
        f"tests/unit must run every line of {ROOT}/{package}; add a test there, or delete what "
        f"cannot be reached:\n  {places}"
    )


if __name__ == "__main__":
    main(sys.argv[1])

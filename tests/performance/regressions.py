"""How often the default gate is wrong: pairs of equal runs, and the same with planted changes.

    python tests/performance/regressions.py [--pairs 20] [--keep FOLDER]

Runs `--yourai-model tiny --quick` three times for each pair, with the default gate, which measures
a regression of step time again before it fails. The second run is compared with the first, and the
third with the first after its step times were divided by 1.2. In the second profile 10 % more
minimum memory is planted. A fixed piece of work is timed around the runs: the pace is how much
longer it took for the second. It tells a slow moment of the machine from a wrong gate; the gate
itself does not know it. Also prints what measuring again costs, in time of the run without it.
"""

from __future__ import annotations

import argparse
import copy
import json
import re
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pytest_yourai.core.digest import with_digest
from pytest_yourai.store.compare.comparison import compare
from pytest_yourai.store.compare.noise import overall_slowdown
from pytest_yourai.store.compare.thresholds import DEFAULT_THRESHOLDS, regressions
from pytest_yourai.store.profile_reader import parse_written
from pytest_yourai.store.stored_profile import StoredProfile

from _common import pytest_command, read_profile, verdict
from _reference_work import reference_times_s

_SLOW_DOWN = 1.2
_GROWTH = 1.1
_MOST_FALSE = 0.05
_REFERENCE = "reference_times_s"
"""Key that this script adds to the profiles that it measures."""


@dataclass(frozen=True)
class _Run:
    """A run: its profile, its status, its duration, and how often it measured again."""

    profile: dict[str, Any]
    regressions: tuple[str, ...]
    duration_s: float
    rounds: int


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=20)
    parser.add_argument("--keep", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        keep = (given.keep or Path(folder)).absolute()
        found = [_pair(keep / f"{number:02}", number) for number in range(1, given.pairs + 1)]
    false, slow, large = (sum(column) for column in zip(*found, strict=True))
    count = len(found)
    good = (false <= _MOST_FALSE * count, slow == count, large == count)
    print(f"false regressions: {false} of {count} {verdict(good[0])}")
    print(f"20 % longer steps found: {slow} of {count} {verdict(good[1])}")
    print(f"10 % more minimum memory found: {large} of {count} {verdict(good[2])}")
    return 0 if all(good) else 1


def _pair(folder: Path, number: int) -> tuple[bool, bool, bool]:
    """Whether there is a false regression, and whether each planted change is found."""
    before = _run(folder / "before", None)
    planted = copy.deepcopy(before.profile)
    for row in planted["all_results"]:
        row["step_times_s"] = [each / _SLOW_DOWN for each in row["step_times_s"]]
    after = _run(folder / "after", before.profile)
    slower = _run(folder / "slower", planted)
    larger = copy.deepcopy(after.profile)
    for row in larger["all_results"]:
        row["minimum_memory_bytes"] = round(row["minimum_memory_bytes"] * _GROWTH)
    comparison = compare(_stored(before.profile), _stored(larger))
    large = any("minimum_memory" in str(each) for each in regressions(comparison, _GATE))
    slow = any("step time" in each or "step_time" in each for each in slower.regressions)
    slowdown = overall_slowdown(compare(_stored(before.profile), _stored(after.profile)))
    print(
        f"pair {number:2}: all steps {slowdown.share if slowdown else 0:+.1%} "
        f"(pace {_pace(before.profile, after.profile)}), {after.rounds} rounds, "
        f"{'; '.join(after.regressions) or 'no regression'}; "
        f"found: {'slow-down' if slow else 'NO slow-down'} after {slower.rounds} rounds, "
        f"{'memory' if large else 'NO memory'}; took {before.duration_s:.0f} s, "
        f"{after.duration_s:.0f} s, {slower.duration_s:.0f} s",
        flush=True,
    )
    return bool(after.regressions), slow, large


_GATE = DEFAULT_THRESHOLDS


def _run(place: Path, baseline: dict[str, Any] | None) -> _Run:
    place.mkdir(parents=True)
    arguments = ["--yourai-model", "tiny", "--quick"]
    if baseline is not None:
        (place / "base.json").write_text(json.dumps(with_digest(baseline)), encoding="utf-8")
        arguments.append("--yourai-compare=base.json")
    reference = reference_times_s()
    began = time.monotonic()
    output = subprocess.run(
        pytest_command(*arguments), cwd=place, capture_output=True, text=True, check=False
    ).stdout
    duration_s = time.monotonic() - began
    profile = read_profile(place) | {_REFERENCE: reference + reference_times_s()}
    found = re.findall(r"^  REGRESSION (.*)$", output, re.MULTILINE)
    return _Run(profile, tuple(found), duration_s, output.count("Slower than the baseline"))


def _pace(before: dict[str, Any], after: dict[str, Any]) -> str:
    """Change of the time that the reference work took, in words."""
    if not (_REFERENCE in before and _REFERENCE in after):
        return "unknown"
    change = statistics.fmean(after[_REFERENCE]) / statistics.fmean(before[_REFERENCE]) - 1
    return f"{change:+.1%}"


def _stored(document: dict[str, Any]) -> StoredProfile:
    [found] = parse_written(json.loads(json.dumps(document)), "profile")
    return found


if __name__ == "__main__":
    sys.exit(main())

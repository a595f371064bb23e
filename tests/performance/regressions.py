"""How often the default gate is wrong: pairs of equal runs, and the same with planted changes.

    python tests/performance/regressions.py [--pairs 20] [--from FOLDER]

Runs `--yourai-model tiny --quick` twice for each pair, compares the two, and then the second one
again with all step times 20 % longer, and with 10 % more minimum memory. A fixed piece of work is
timed before and after each run: the pace is how much longer it took the second time. It tells a
slow moment of the machine from a wrong gate; the gate itself does not know it. `--keep FOLDER`
keeps the profiles, `--from FOLDER` takes them from there.
"""

from __future__ import annotations

import argparse
import copy
import json
import statistics
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pytest_yourai.core.digest import with_digest
from pytest_yourai.store.compare.comparison import compare
from pytest_yourai.store.compare.noise import overall_slowdown
from pytest_yourai.store.compare.thresholds import DEFAULT_THRESHOLDS, regressions
from pytest_yourai.store.stored_profile import StoredProfile, parse_written

from _common import PROFILE, pytest_command, read_profile, timed, verdict
from _reference_work import reference_times_s

_SLOW_DOWN = 1.2
_GROWTH = 1.1
_MOST_FALSE = 0.05
_REFERENCE = "reference_times_s"
"""Key that this script adds to the profiles that it measures."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=20)
    parser.add_argument("--keep", type=Path)
    parser.add_argument("--from", dest="kept", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        keep = given.keep or Path(folder)
        pairs = _kept(given.kept) if given.kept else _measured(keep, given.pairs)
        found = [_judge(number, *pair) for number, pair in enumerate(pairs, 1)]
    false, slow, large = (sum(column) for column in zip(*found, strict=True))
    count = len(found)
    good = (false <= _MOST_FALSE * count, slow == count, large == count)
    print(f"false regressions: {false} of {count} {verdict(good[0])}")
    print(f"20 % longer steps found: {slow} of {count} {verdict(good[1])}")
    print(f"10 % more minimum memory found: {large} of {count} {verdict(good[2])}")
    return 0 if all(good) else 1


def _measured(folder: Path, pairs: int) -> list[list[dict[str, Any]]]:
    found = []
    for number in range(1, pairs + 1):
        pair = []
        for name in ("before", "after"):
            place = folder / f"{number:02}-{name}"
            place.mkdir(parents=True)
            reference = reference_times_s()
            timed(pytest_command("--yourai-model", "tiny", "--quick"), place)
            profile = read_profile(place) | {_REFERENCE: reference + reference_times_s()}
            (place / PROFILE).write_text(json.dumps(with_digest(profile)), encoding="utf-8")
            pair.append(profile)
        found.append(pair)
    return found


def _kept(folder: Path) -> list[list[dict[str, Any]]]:
    numbers = sorted(path.name.partition("-")[0] for path in folder.glob("*-after"))
    return [
        [read_profile(folder / f"{number}-{name}") for name in ("before", "after")]
        for number in numbers
    ]


def _judge(number: int, before: dict[str, Any], after: dict[str, Any]) -> tuple[bool, bool, bool]:
    """Whether there is a false regression, and whether each planted change is found."""
    base = _stored(before)
    comparison = compare(base, _stored(after))
    told = [each.text for each in regressions(comparison, DEFAULT_THRESHOLDS)]
    slow = _told(base, after, _longer_steps, "step times")
    large = _told(base, after, _more_memory, "minimum_memory")
    slowdown = overall_slowdown(comparison)
    print(
        f"pair {number:2}: all steps {slowdown.share if slowdown else 0:+.1%} "
        f"(pace {_pace(before, after)}), "
        f"{'; '.join(told) or 'no regression'}; found: "
        f"{'slow-down' if slow else 'NO slow-down'}, {'memory' if large else 'NO memory'}",
        flush=True,
    )
    return bool(told), slow, large


def _pace(before: dict[str, Any], after: dict[str, Any]) -> str:
    """Change of the time that the reference work took, in words."""
    if not (_REFERENCE in before and _REFERENCE in after):
        return "unknown"
    change = statistics.fmean(after[_REFERENCE]) / statistics.fmean(before[_REFERENCE]) - 1
    return f"{change:+.1%}"


def _told(
    base: StoredProfile, after: dict[str, Any], plant: Callable[[dict[str, Any]], None], word: str
) -> bool:
    """Whether the gate names a change of this kind that is planted into the second profile."""
    planted = copy.deepcopy(after)
    for row in planted["all_results"]:
        plant(row)
    found = regressions(compare(base, _stored(planted)), DEFAULT_THRESHOLDS)
    return any(word in str(each) for each in found)


def _longer_steps(row: dict[str, Any]) -> None:
    row["step_times_s"] = [time_s * _SLOW_DOWN for time_s in row["step_times_s"]]
    row["step_time_ms"] *= _SLOW_DOWN
    row["tokens_per_second"] /= _SLOW_DOWN


def _more_memory(row: dict[str, Any]) -> None:
    row["minimum_memory_bytes"] = round(row["minimum_memory_bytes"] * _GROWTH)


def _stored(document: dict[str, Any]) -> StoredProfile:
    [found] = parse_written(json.loads(json.dumps(document)), "profile")
    return found


if __name__ == "__main__":
    sys.exit(main())

"""How large is a page, and how long does it take to make and to open?

python tests/performance/page.py [--rounds 5] [--history 2000]

Twelve configurations, and a history of so many sweeps of them, in headless Chromium: from the
address to the moment when all charts are drawn. Needs Chromium and playwright, and a machine with
nothing else to do.
"""

from __future__ import annotations

import argparse
import copy
import datetime
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright

from _common import ROOT, verdict

sys.path.insert(0, str(ROOT / "tests"))
from pytest_yourai.report.page.render import read_sources, write_page

from support.browser import launched, new_page, opened
from support.profiles import page_of, quick

TWELVE_MB, TWELVE_S = 0.3, 1.0
HISTORY_MB, HISTORY_S = 4.0, 10.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--history", type=int, default=2000)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, sync_playwright() as playwright:
        folder, browser = Path(name), launched(playwright)
        path = page_of(folder, quick())
        times = list(opening_times(browser, path, given.rounds))
        report("twelve configurations", path, TWELVE_MB)
        limited("drawn", statistics.median(times), TWELVE_S)
        write_history(folder / "runs", given.history)
        start = time.perf_counter()
        write_page(path, read_sources([folder / "runs"]), "-o")
        made_s = time.perf_counter() - start
        report(f"history of {given.history:,}", path, HISTORY_MB)
        limited("made", made_s, HISTORY_S)
        limited("drawn", statistics.median(opening_times(browser, path, given.rounds)), HISTORY_S)
        browser.close()


def write_history(folder: Path, count: int) -> None:
    """A sweep every nine hours; each hundredth with another MLX, and step times that wander."""
    folder.mkdir()
    start = datetime.datetime(2024, 1, 1, tzinfo=datetime.UTC)
    first = quick()
    for number in range(count):
        document = copy.deepcopy(first)
        document["created_at"] = (start + datetime.timedelta(hours=9 * number)).isoformat()
        document["environment"]["versions"]["mlx"] = f"0.{20 + number // 100}.0"
        for row in document["all_results"]:
            wander = 1 + (number % 5 - 2) / 500
            row["step_times_s"] = [each * wander for each in row["step_times_s"]]
        (folder / f"{number:05}.json").write_text(json.dumps(document), encoding="utf-8")


def opening_times(browser: Browser, path: Path, rounds: int) -> Iterator[float]:
    """Each in a new tab, which has compiled nothing yet."""
    for _ in range(rounds):
        tab = new_page(browser)
        with opened(tab, path) as found:
            yield found.load_s
        tab.context.close()


def report(what: str, path: Path, allowed_mb: float) -> None:
    size_mb = path.stat().st_size / 1e6
    print(f"{what}: {size_mb:.2f} MB, allowed {allowed_mb}: {verdict(size_mb <= allowed_mb)}")


def limited(what: str, seconds: float, allowed_s: float) -> None:
    print(f"  {what} in {seconds:.2f} s, allowed {allowed_s}: {verdict(seconds <= allowed_s)}")


if __name__ == "__main__":
    main()

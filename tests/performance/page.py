"""How large is a page, and how long does it take to open?

python tests/performance/page.py [--rounds 5]

Three profiles of eighty configurations in headless Chromium, from the address to the moment when
all charts are drawn. Allowed: 2 s. Needs Chromium and playwright, and a machine with nothing else
to do.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import sync_playwright

from _common import ROOT, verdict

sys.path.insert(0, str(ROOT / "tests"))
from support.browser import launched, new_page, opened
from support.profiles import full, page_of

ALLOWED_S = 2.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as name, sync_playwright() as playwright:
        path = page_of(Path(name), full(1), full(2), full(3))
        print(f"size: {path.stat().st_size / 1e6:.2f} MB")
        browser = launched(playwright)
        times, paints = [], []
        for _ in range(rounds):
            with opened(new_page(browser), path) as found:
                times.append(found.load_s)
                paint = "performance.getEntriesByName('first-contentful-paint')[0].startTime / 1e3"
                paints.append(float(found.page.evaluate(paint)))
        browser.close()
    print(f"something is seen after {statistics.median(paints):.2f} s (median)")
    print(
        f"all is drawn after {statistics.median(times):.2f} s (median), {min(times):.2f} s (best); "
    )
    print(f"allowed {ALLOWED_S} s: {verdict(statistics.median(times) <= ALLOWED_S)}")


if __name__ == "__main__":
    main()

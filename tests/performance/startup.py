"""What does the plugin cost a project that does not use it?

python tests/performance/startup.py [--rounds 20]

`pytest` on one empty test with the plugin and with `-p no:yourai`, interleaved. Allowed: 15 ms.
Both are started with plugin autoloading, pytest-benchmark and pytest-timeout included.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from pathlib import Path

from _common import pytest_command, timed, verdict

ALLOWED_MS = 15


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=20)
    times: dict[str, list[float]] = {"with": [], "without": []}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "test_nothing.py").write_text("def test_nothing(): pass\n")
        for _ in range(parser.parse_args().rounds):
            times["with"].append(timed(pytest_command("-q"), folder)[0])
            times["without"].append(timed(pytest_command("-q", "-p", "no:yourai"), folder)[0])
    middle = {side: statistics.median(values) * 1e3 for side, values in times.items()}
    grown_ms = middle["with"] - middle["without"]
    fastest_ms = (min(times["with"]) - min(times["without"])) * 1e3
    print(f"with the plugin {middle['with']:.0f} ms, without {middle['without']:.0f} ms (medians)")
    print(f"grown by {grown_ms:.1f} ms, fastest against fastest {fastest_ms:.1f} ms; ", end="")
    print(f"allowed {ALLOWED_MS} ms: {verdict(grown_ms <= ALLOWED_MS)}")


if __name__ == "__main__":
    main()

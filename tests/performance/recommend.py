"""Does `--yourai-recommend` answer at once?

python tests/performance/recommend.py [--rounds 5]

It beside `pytest` in an empty folder, the fastest of each. Allowed: 1 s more.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from _common import pytest_command, timed, verdict

ALLOWED_S = 1.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "test_nothing.py").write_text("def test_nothing(): pass\n")
        alone_s = min(timed(pytest_command(), folder)[0] for _ in range(rounds))
        command = pytest_command("--yourai-recommend")
        asked_s = min(timed(command, folder)[0] for _ in range(rounds))
    grown_s = asked_s - alone_s
    print(f"{asked_s:.2f} s, {alone_s:.2f} s without; allowed {ALLOWED_S:g} s more: ", end="")
    print(verdict(grown_s <= ALLOWED_S))


if __name__ == "__main__":
    main()

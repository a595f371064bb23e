"""Does `yourai verify` find what is planted in the real engine?

python tests/attacks/verify_faults.py [--sleep-s 0.02]

Once as it is, and once with steps of a trial that take longer by --sleep-s (give 10 % of a step),
peaks that are 3 % higher, minima that are 3 % higher after the first worker, and training without
its limit. Each of these lines must pass, and then fail; on a busy machine
step time may be `not read`.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from pytest_yourai.verify import document

PLANTED = ("minimum_repeats", "limit", "step_time", "peak")


def verdicts(folder: Path, variables: dict[str, str]) -> dict[str, document.Line]:
    output = folder / "verify.json"
    output.unlink(missing_ok=True)
    command = [sys.executable, "-m", "pytest_yourai", "verify", "--output", str(output)]
    subprocess.run(command, cwd=folder, check=False, env={**os.environ, **variables})
    return {line.name: line for line in document.read(output).lines}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sleep-s", type=float, default=0.02)
    asked = parser.parse_args()
    tests = str(Path(__file__).resolve().parents[1])
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        clean = verdicts(folder, {})
        planted = verdicts(
            folder,
            {
                "YOURAI_TEST_ENGINE": "support.misled_engine:MisledEngine",
                "PYTHONPATH": os.pathsep.join((tests, os.environ.get("PYTHONPATH", ""))),
                "YOURAI_TEST_SLEEP_S": str(asked.sleep_s),
                "YOURAI_TEST_MARK": str(folder / "mark"),
            },
        )
    for each in PLANTED:
        print(f"{each}: as it is {clean[each].status}, planted {planted[each].status}")


if __name__ == "__main__":
    main()

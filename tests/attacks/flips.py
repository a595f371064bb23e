"""Flips single bits of a journal, a profile, a calibration and a checkpoint, and reads them back.

    python tests/attacks/flips.py [--flips 2500] [--seed 1]

A flip is read right if nothing that counts has changed, reported if the reader says so, and wrong
if another answer comes out without a word. The status is 1 where any is wrong, or a traceback.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from support.flips import TARGETS, TRACEBACK, WRONG, flip_bits, table


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--flips", type=int, default=2500, help="of each file")
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    found = {}
    for make in TARGETS:
        with tempfile.TemporaryDirectory() as folder:
            target = make(Path(folder))
            found[target.name] = flip_bits(target, asked.flips, random.Random(asked.seed))
    print("\n".join(table(found)))
    return int(any(each[WRONG] or each[TRACEBACK] for each in found.values()))


if __name__ == "__main__":
    sys.exit(main())

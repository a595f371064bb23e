"""How long does `yourai fits` take for many profiles, and how much memory?

python tests/performance/fits.py [--profiles 10000]

Profiles of 12 configurations, as a sweep writes them, of 40 machines, 25 models and 3 recipes, made
in a temporary folder. The time is that of the whole command, the memory its largest resident set.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from _common import ROOT, timed

sys.path.insert(0, str(ROOT / "tests"))
from pytest_yourai.core.digest import with_digest

from support.profiles import quick

MOST_S, MOST_MB = 20.0, 500.0

_CHIPS = [f"Apple M{number} {size}" for number in range(1, 6) for size in ("Pro", "Max")]

_SIZES_GB = (18, 36, 64, 128)

_RECIPES = (
    {"optimizer": "adam", "lora_keys": "qkvo"},
    {"optimizer": "adamw", "lora_keys": "all"},
    {"optimizer": "adam", "lora_keys": "qkvo", "fine_tune_type": "dora"},
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--profiles", type=int, default=10_000)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for number, document in enumerate(_documents(given.profiles)):
            text = json.dumps(with_digest(document), indent=2)
            (folder / f"{number}.json").write_text(text)
        command = [sys.executable, "-m", "pytest_yourai", "fits", name, "--format"]
        for kind in ("json", "html"):
            took_s, printed = timed([*command, kind], folder)
            usage = resource.getrusage(resource.RUSAGE_CHILDREN)
            print(f"{kind}: {took_s:.1f} s (at most {MOST_S:.0f}), {len(printed) / 1e6:.1f} MB")
        print(f"processor: {usage.ru_utime + usage.ru_stime:.1f} s for all of them")
        print(f"memory: {usage.ru_maxrss / 1e3:.0f} MB (at most {MOST_MB:.0f})")


def _documents(count: int) -> Iterator[dict[str, Any]]:
    for number in range(count):
        found = quick()
        chip = _CHIPS[number % len(_CHIPS)]
        size_gb = _SIZES_GB[number // len(_CHIPS) % len(_SIZES_GB)]
        found["model"] = f"model-{number % 25}"
        found["memory_limit_gb"] = size_gb * 0.8
        found["environment"].update(
            chip=chip,
            device=chip,
            gpu_cores=40,
            backend="metal",
            system_memory_bytes=size_gb << 30,
        )
        recipe = _RECIPES[number % len(_RECIPES)]
        found.update({f"optimal_{key}": value for key, value in recipe.items()})
        for row in found["all_results"]:
            row.update(recipe)
            row["step_times_s"] = [each * (1 + number % 97 / 1000) for each in row["step_times_s"]]
            row["warmup_step_times_s"] = [*row["warmup_step_times_s"], 1 + number / count]
        yield found


if __name__ == "__main__":
    main()

"""Profiles of made-up machines, for tests of what fits where."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from support.profiles import document

GB = 1_000_000_000
MAX_64 = {
    "chip": "Apple M4 Max",
    "gpu_cores": 40,
    "backend": "metal",
    "device": "Apple M4 Max",
    "device_memory_bytes": 51 * GB,
    "system_memory_bytes": 64 << 30,
    "versions": {"mlx": "0.32.4", "mlx-lm": "0.32.2"},
}
PRO_24 = MAX_64 | {
    "chip": "Apple M4 Pro",
    "gpu_cores": 16,
    "device": "Apple M4 Pro",
    "device_memory_bytes": 19 * GB,
    "system_memory_bytes": 24 << 30,
}


def nothing(_: dict[str, Any]) -> None:
    pass


def of_machine(
    environment: dict[str, Any],
    limit_gb: float | None,
    change: Callable[[dict[str, Any]], object] = nothing,
    speed: float = 1.0,
) -> dict[str, Any]:
    """The profile of llama-8b on another machine; what is over its budget has no steps."""
    found = document()
    found["environment"] = dict(environment)
    found["memory_limit_gb"] = limit_gb
    for row in found["all_results"]:
        row["step_times_s"] = [each / speed for each in row["step_times_s"]]
        if limit_gb is not None and row["minimum_memory_bytes"] * 1.15 > limit_gb * GB:
            row.update(outcome="over_budget", success=False, error="over the budget")
            row.update(step_times_s=[], step_tokens=[], peak_memory_bytes=None)
    for key in [each for each in found if each.startswith("optimal_batch")]:
        del found[key]
    change(found)
    return found


def written(folder: Path, *documents: dict[str, Any]) -> Path:
    for number, each in enumerate(documents):
        (folder / f"{number}.json").write_text(json.dumps(each))
    return folder

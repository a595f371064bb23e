"""What the scripts share: models made here, processes that are timed, tables."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]

_MOST_S = 600

PROFILE = "optimal_config.json"


def timed(
    command: Sequence[str], cwd: Path, variables: Mapping[str, str] | None = None
) -> tuple[float, str]:
    """Seconds of wall time, and stdout; raises where the command fails."""
    start = time.perf_counter()
    done = subprocess.run(
        command,
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
        timeout=_MOST_S,
        env={**os.environ, **(variables or {})},
    )
    seconds = time.perf_counter() - start
    if done.returncode:
        sys.exit(f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    return seconds, done.stdout


def pytest_command(*arguments: str) -> list[str]:
    """pytest as a user has it, with the plugin, installed or not, and nothing kept between runs."""
    without = ("cacheprovider", "hypothesispytest", "anyio")
    command = [sys.executable, "-m", "pytest", *(f"-pno:{each}" for each in without)]
    try:
        import importlib.metadata  # noqa: PLC0415

        importlib.metadata.version("pytest-yourai")
    except importlib.metadata.PackageNotFoundError:
        command += ["-p", "pytest_yourai.plugin"]
    return [*command, *arguments]


def read_profile(folder: Path) -> dict[str, Any]:
    profile: dict[str, Any] = json.loads((folder / PROFILE).read_text())
    return profile


def sum_of_steps_s(profile: dict[str, Any]) -> float:
    times: list[float] = []
    for row in profile["all_results"]:
        times += row["warmup_step_times_s"] + row["step_times_s"]
    return sum(times)


def spread(values: Sequence[float]) -> float:
    """Largest deviation from the median, relative."""
    middle = statistics.median(values)
    return float(max(abs(value - middle) for value in values) / middle)


def verdict(good: bool) -> str:
    return "ok" if good else "MISSED"


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    widths = [max(len(row[column]) for row in (header, *rows)) for column in range(len(header))]
    for row in (header, ["-" * width for width in widths], *rows):
        cells = zip(row, widths, strict=True)
        print("  ".join(cell.rjust(width) for cell, width in cells), flush=True)

"""What a journal says of earlier runs. Reads past whatever is torn or not ours."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pytest_yourai.core.config import LoraConfig
from pytest_yourai.core.results import TrialResult
from pytest_yourai.store.rows import _config, _counted, _is, _number, result_from_row


@dataclass
class PastRun:
    """One run, from its benchmark_start on.

    `unfinished` is the trial that had begun when the journal broke off, None where the run ended
    in order. `budget_bytes` is 0 where it broke off before there was one.
    """

    identity: Mapping[str, Any]
    boot_id: str | None
    pid: int | None = None
    """Of the pytest process: one that goes through several models begins a run for each."""
    budget_bytes: int = 0
    budget_is_detected: bool = False
    device: Mapping[str, Any] = field(default_factory=dict)
    results: dict[LoraConfig, TrialResult] = field(default_factory=dict)
    unfinished: LoraConfig | None = None
    unfinished_at: float = 0.0


@dataclass(frozen=True)
class History:
    """The runs of a journal, oldest first, and how many of its lines could not be read."""

    name: str
    runs: tuple[PastRun, ...]
    unreadable_lines: int


def read_history(path: Path) -> History:
    """An empty one where there is no file."""
    try:
        data = path.read_bytes()
    except OSError:
        data = b""
    runs: dict[str, PastRun] = {}
    unreadable = 0
    for line in data.splitlines():
        if not line.strip():
            continue
        try:
            event = json.loads(line)
            _take(event, runs)
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError, OverflowError):
            unreadable += 1
    return History(path.name, tuple(runs.values()), unreadable)


def _take(event: Mapping[str, Any], runs: dict[str, PastRun]) -> None:
    name = event["event"]
    if name == "benchmark_start":
        identity = dict(event["identity"])
        runs[str(event["run_id"])] = PastRun(identity, event.get("boot_id"), event.get("pid"))
        return
    if name not in ("model_start", "trial_start", "trial_complete", "benchmark_complete"):
        return
    run = runs.get(event["run_id"])
    if run is None:
        # The line that says what kind of run it was is lost.
        return
    match name:
        case "model_start":
            run.budget_bytes = _counted(event["memory_limit_bytes"])
            run.budget_is_detected = _is(event["memory_limit_is_detected"], bool)
            run.device = dict(event["device"])
        case "trial_start":
            run.unfinished, run.unfinished_at = _config(event), _number(event["timestamp"])
        case "trial_complete":
            result = result_from_row(event, str(run.identity["model"]), run.budget_bytes)
            run.results[result.config] = result
            run.unfinished = None
        case "benchmark_complete":
            run.unfinished = None

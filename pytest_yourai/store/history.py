"""The earlier runs of a journal. Lines that are torn or not ours are counted, and skipped."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pytest_yourai.core.config import LoraConfig
from pytest_yourai.core.digest import line_has_changed
from pytest_yourai.core.errors import OutputError
from pytest_yourai.core.files import parse_json
from pytest_yourai.core.opening import read_own
from pytest_yourai.core.results import TrialResult
from pytest_yourai.store.config_rows import ConfigRow
from pytest_yourai.store.rows import TrialRow
from pytest_yourai.store.schema import Amount, Count, Row


@dataclass
class PastRun:
    """One run, from its `benchmark_start` on.

    `unfinished` is the trial that was running when the journal broke off, None if the run ended
    normally. `budget_bytes` is 0 if it broke off before there was one.
    """

    identity: Mapping[str, Any]
    boot_id: str | None
    pid: int | None = None
    """The pytest process; with several models it begins a run for each."""
    budget_bytes: int = 0
    budget_is_detected: bool = False
    device: Mapping[str, Any] = field(default_factory=dict)
    results: dict[LoraConfig, TrialResult] = field(default_factory=dict)
    unfinished: LoraConfig | None = None
    unfinished_at: float = 0.0


@dataclass(frozen=True)
class History:
    """The runs of a journal, oldest first, and the number of lines that could not be read."""

    name: str
    runs: tuple[PastRun, ...]
    unreadable_lines: int


def read_history(path: Path) -> History:
    """The history in the journal `path`; empty if there is no such file."""
    try:
        data = read_own(path)
    except FileNotFoundError:
        data = b""
    except OSError as problem:
        raise OutputError(
            f"--yourai-log: {path} cannot be read: {problem.strerror}; name another file"
        ) from None
    runs: dict[str, PastRun] = {}
    unreadable = 0
    for line in data.splitlines():
        if not line.strip():
            continue
        try:
            _add_event(_event(line), runs)
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError, OverflowError):
            unreadable += 1
    return History(path.name, tuple(runs.values()), unreadable)


def _event(line: bytes) -> Any:
    if line_has_changed(line):
        raise ValueError("its crc32 is that of another line")
    return parse_json(line)


_BEGINNINGS = ("benchmark_start", "run_facts")
"""The events with the identity of a run: if a line is lost, the other has it."""


class _ModelStart(Row):
    """The budget and the device of a run."""

    memory_limit_bytes: Count
    memory_limit_is_detected: bool
    device: dict[str, Any]


class _TrialStart(ConfigRow):
    timestamp: Amount


def _add_event(event: Mapping[str, Any], runs: dict[str, PastRun]) -> None:
    name = event["event"]
    if name in _BEGINNINGS:
        identity = dict(event["identity"])
        began = PastRun(identity, event.get("boot_id"), event.get("pid"))
        runs.setdefault(str(event["run_id"]), began)
    run = runs.get(event.get("run_id", ""))
    if run is None:
        # Of no run, or the lines with the identity of the run are lost.
        return
    match name:
        case "model_start" | "run_facts":
            start = _ModelStart.model_validate(event)
            run.budget_bytes = start.memory_limit_bytes
            run.budget_is_detected = start.memory_limit_is_detected
            run.device = start.device
        case "trial_start":
            trial = _TrialStart.model_validate(event)
            run.unfinished, run.unfinished_at = trial.config, trial.timestamp
        case "trial_complete":
            row = TrialRow.model_validate(event)
            result = row.to_result(str(run.identity["model"]), run.budget_bytes)
            run.results[result.config] = result
            run.unfinished = None
        case "benchmark_complete" | "trial_repeated":
            run.unfinished = None

"""Faults that tests inject into a sweep, and the table of what came of them."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from support.messages import says_what_to_do
from support.processes import SweepResult

PROPERTY = "fault"

Judge = Callable[[str, SweepResult, Sequence[str]], None]


@dataclass(frozen=True)
class Judgement:
    """How one injected fault ended."""

    fault: str
    right: bool
    lost: int
    left: int


def judge(fault: str, done: SweepResult, expected: Sequence[str]) -> Judgement:
    """`expected` are the outcomes of all configurations, in the order of the run."""
    completed = done.events("trial_complete")
    known = {(row["batch_size"], row["lora_rank"], row["lora_layers"]) for row in done.rows}
    lost = sum(
        (event["batch_size"], event["lora_rank"], event["lora_layers"]) not in known
        for event in completed
    )
    pids = {event["pid"] for event in done.events("subprocess_spawned")}
    right = done.outcomes == list(expected) and all(map(_has_remedy, done.rows))
    return Judgement(fault, right, lost, processes_left(pids))


def _has_remedy(row: Mapping[str, Any]) -> bool:
    """True for a failed row that says what to do, and for others."""
    return row["outcome"] in ("ok", "skipped") or says_what_to_do(row["error"] or "")


def processes_left(leaders: Iterable[int]) -> int:
    """How many live processes belong to the sessions that these workers had."""
    wanted = set(leaders)
    return sum(_session(process) in wanted for process in psutil.process_iter())


def processes_with(name: str, value: str, but: int | None = None) -> int:
    """How many live processes but one were started with this variable, whatever their session."""
    found = 0
    for process in psutil.process_iter():
        if process.pid == but:
            continue
        with contextlib.suppress(psutil.Error):
            found += process.environ().get(name) == value
    return found


def _session(process: psutil.Process) -> int | None:
    try:
        fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return process.pid
    return None if fields[0] == "Z" else int(fields[3])


def report(record_property: Callable[[str, object], None], judgement: Judgement) -> None:
    record_property(PROPERTY, json.dumps(asdict(judgement)))
    assert judgement == Judgement(judgement.fault, right=True, lost=0, left=0)


def table(reports: Iterable[pytest.TestReport]) -> list[str]:
    """A Markdown table: faults of one name are counted together."""
    judgements: dict[str, list[dict[str, Any]]] = {}
    for each in reports:
        for name, text in each.user_properties:
            if name == PROPERTY:
                found = json.loads(str(text))
                judgements.setdefault(found["fault"], []).append(found)
    if not judgements:
        return []
    lines = ["| fault | injected | classified right | results lost | processes left |"]
    lines.append("|---|--:|--:|--:|--:|")
    for fault, found in sorted(judgements.items()):
        sums = [
            len(found),
            *(sum(each[key] for each in found) for key in ("right", "lost", "left")),
        ]
        lines.append(f"| {fault} | " + " | ".join(map(str, sums)) + " |")
    return lines

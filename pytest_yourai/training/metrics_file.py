"""metrics.jsonl: a JSON row for each step of training, and for each validation."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from pytest_yourai.core.errors import OutputError
from pytest_yourai.core.files import parse_json, sync_folder, write_atomically
from pytest_yourai.core.opening import displaced, open_regular, read_own
from pytest_yourai.core.sanitize import clean, json_text
from pytest_yourai.core.units import GB, MB, scaled
from pytest_yourai.machine.leak import Growth
from pytest_yourai.worker.protocol import SkippedBatch, TrainedStep, Validated

METRICS_NAME = "metrics.jsonl"

_NAMED_BY = "--adapter-path"


class MetricsFile:
    """An open file that rows are appended to, each by one `os.write`, so that it can be followed.

    For a run that continues after `from_step` steps: rows of later steps, which are trained again,
    and invalid rows are dropped. With 0 nothing of an old file is kept, so the caller has to ask
    first. OutputError if it cannot be written. If the disk fills up later, `problem` has the
    reason, and later rows are left out, because training goes on.
    """

    def __init__(self, path: Path, from_step: int) -> None:
        self.path = path
        self.problem: str | None = None
        self._is_stopped = False
        try:
            self._validated = _drop_later(path, from_step)
            self._fd = open_regular(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
            self._size_bytes = os.fstat(self._fd).st_size
            sync_folder(path.parent)
        except OSError as problem:
            raise OutputError(
                f"{_NAMED_BY}: {path} cannot be written: {problem.strerror}; name another folder"
            ) from None

    def step(self, step: TrainedStep, growth: Growth | None = None) -> None:
        """Append a step; with `growth`, at a report interval, also memory."""
        row: dict[str, Any] = {
            "step": step.step,
            "train_loss": step.loss,
            "step_time_s": step.step_time_s,
            "tokens_per_second": step.tokens / step.step_time_s if step.step_time_s > 0 else None,
            "tokens": step.tokens,
            "learning_rate": step.learning_rate,
        }
        if growth is not None:
            row |= {
                "active_memory_gb": scaled(step.active_memory_bytes, GB),
                "peak_memory_gb": scaled(step.peak_memory_bytes, GB),
                "cache_memory_gb": scaled(step.cache_memory_bytes, GB),
                "footprint_gb": scaled(step.footprint_bytes, GB),
                "active_growth_mb_per_step": scaled(growth.active_bytes_per_step, MB),
                "footprint_growth_mb_per_step": scaled(growth.footprint_bytes_per_step, MB),
            }
        self._append(row)

    def skipped(self, skipped: SkippedBatch) -> None:
        """Append a step whose batch was skipped."""
        self._append({"step": skipped.step, "skipped_loss": str(skipped.loss)})

    def validated(self, validated: Validated) -> None:
        """Append the loss on the validation set, unless a resumed run repeats it."""
        if validated.step in self._validated:
            return
        self._validated.add(validated.step)
        self._append(
            {"step": validated.step, "val_loss": validated.loss, "val_time_s": validated.time_s}
        )

    def sync(self) -> None:
        """Wait until all rows are on the disk."""
        try:
            os.fsync(self._fd)
        except OSError as problem:
            self.problem = f"{self.path} could not be written: {problem.strerror}"

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _append(self, row: dict[str, Any]) -> None:
        if self._is_stopped:
            return
        data = memoryview(json_text(clean(row)).encode() + b"\n")
        try:
            event = displaced(self._fd, self.path, self._size_bytes)
            if event is not None and self.problem is None:
                self.problem = f"{self.path} {event} while training went on"
            while data:
                data = data[os.write(self._fd, data) :]
            self._size_bytes = os.fstat(self._fd).st_size
        except OSError as problem:
            self.problem = f"{self.path} could not be written: {problem.strerror}"
            self._is_stopped = True


def _drop_later(path: Path, from_step: int) -> set[int]:
    """Keep the rows of at most `from_step` steps, atomically, without a torn last line.

    Returns the steps with a validation.
    """
    try:
        old = read_own(path).decode(errors="replace")
    except FileNotFoundError:
        return set()
    lines = old.split("\n") if from_step else []
    kept = [(line, row) for line in lines if (row := _kept(line, from_step))]
    text = "".join(f"{line}\n" for line, _ in kept)
    if text != old:
        write_atomically(path, text, _NAMED_BY)
    return {row["step"] for _, row in kept if "val_loss" in row}


def _kept(line: str, from_step: int) -> dict[str, Any] | None:
    """The row in a line, if it is kept."""
    try:
        row = parse_json(line)
        return row if row["step"] <= from_step else None
    except (ValueError, RecursionError, LookupError, TypeError):
        return None

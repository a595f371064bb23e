"""What people reported of mlx_lm.lora on Apple silicon, and what is predicted for it."""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pytest_yourai.core.device import DeviceInfo
from pytest_yourai.core.errors import ModelError
from pytest_yourai.estimate.memory_estimate import MemoryEstimate
from pytest_yourai.estimate.predictor import Prediction
from pytest_yourai.estimate.training_memory import estimate_training_memory
from pytest_yourai.machine.budget import assumed_working_set, detect_budget
from pytest_yourai.machine.system_memory import SystemMemory
from pytest_yourai.plan.recommend import judge
from pytest_yourai.plan.recommendation import Verdict

from support.recorded_floors import DATA

FILE = DATA / "metal_reports.json"

GIB = 1 << 30

NARROW = 0.25
"""Most that the prediction for the longest possible rows is above that for the shortest."""

_KEYS: Mapping[str, list[str] | None] = {"all": None, "qv": ["q_proj", "v_proj"]}

_FULL_PRECISION_BITS = 16


@dataclass(frozen=True)
class MetalReport:
    """One reported run. Its rows had between `shortest` and `longest` tokens, padding included."""

    row: Mapping[str, Any]

    @property
    def reported_bytes(self) -> float:
        return float(self.row["reported_peak_gb"]) * 1e9

    @property
    def shortest(self) -> int:
        lengths = self._lengths
        own = lengths.get("exact") or lengths.get("shortest_possible")
        return int(own or self.row["max_seq_length"])

    @property
    def longest(self) -> int:
        lengths = self._lengths
        own = lengths.get("longest_possible") or lengths.get("exact")
        return int(own or self.row["max_seq_length"])

    @property
    def is_of_current_mlx(self) -> bool:
        """False for MLX before 0.25, and for what was not mlx-lm's own training loop."""
        return self.row["class"] not in ("O", "N")

    @property
    def budget_bytes(self) -> int:
        """The budget of an idle Mac with that memory, as a sweep finds it there."""
        total = int(self.row["ram_gib"]) * GIB
        device = DeviceInfo("metal", "", assumed_working_set(total), None, "", "")
        return detect_budget(SystemMemory(total, total, 0), device).limit_bytes

    def is_refused(self, budget_bytes: int) -> bool:
        """True if a sweep does not try the shortest possible rows, but with --yourai-force."""
        found = self.estimate(self.shortest)
        prediction = Prediction(
            found.minimum_bytes,
            found.conservative_bytes,
            found.weights_bytes,
            relative_error=found.relative_error,
        )
        return prediction.is_surely_over(budget_bytes)

    @property
    def verdict(self) -> Verdict:
        """What `yourai fit` says of the longest possible rows."""
        return judge(self.estimate(self.longest), self.budget_bytes)

    def estimate(self, seq_length: int) -> MemoryEstimate:
        row = self.row
        bits, keys = int(row["quantization_bits"]), row["lora_keys"] or "all"
        return estimate_training_memory(
            row["architecture_config"],
            batch_size=row["batch_size"],
            lora_rank=row["rank"],
            lora_layers=row["lora_layers"],
            seq_length=seq_length,
            quantization_bits=None if bits == _FULL_PRECISION_BITS else bits,
            lora_keys=_KEYS[keys] if isinstance(keys, str) else keys,
            grad_checkpoint=bool(row["grad_checkpoint"]),
            optimizer=row["optimizer"] or "adam",
            backend="metal",
            device=row["machine"] or "",
        )

    @property
    def bracket(self) -> float:
        """How far the predictions for the shortest and the longest rows are apart, relative."""
        peaks = [self.estimate(each).peak_bytes for each in (self.shortest, self.longest)]
        return peaks[1] / peaks[0] - 1

    @property
    def ratio(self) -> float:
        """Reported ÷ predicted, for rows between the shortest and the longest."""
        peaks = [self.estimate(each).peak_bytes for each in (self.shortest, self.longest)]
        return self.reported_bytes / math.sqrt(peaks[0] * peaks[1])

    @property
    def can_be_estimated(self) -> bool:
        """True where all that decides about memory was said, but perhaps the exact length."""
        needed = ("architecture_config", "quantization_bits", "batch_size", "lora_layers", "rank")
        if not all(self.row[key] for key in needed):
            return False
        if not (self.row["seq_length"] or self.row["max_seq_length"]):
            return False
        try:
            self.estimate(self.shortest)
        except ModelError:
            return False
        return True

    @property
    def _lengths(self) -> Mapping[str, Any]:
        return dict(self.row["seq_length"] or {})

    def __str__(self) -> str:
        row = self.row
        checkpointing = " checkpoint" if row["grad_checkpoint"] else ""
        sizes = f"batch{row['batch_size']}-rank{row['rank']}-layers{row['lora_layers']}"
        length = f"seq{self.shortest}" + f"-{self.longest}" * (self.longest != self.shortest)
        return f"{row['id']} {row['model'][:32]} {sizes} {length}{checkpointing}"


@functools.cache
def _estimated(path: Path) -> tuple[MetalReport, ...]:
    document = json.loads(path.read_text(encoding="utf-8"))
    reports = map(MetalReport, document["rows"])
    return tuple(each for each in reports if each.can_be_estimated)


def metal_reports(path: Path = FILE) -> list[MetalReport]:
    """All reports of a peak that can be estimated."""
    return [each for each in _estimated(path) if each.row["reported_peak_gb"]]


def metal_failures(path: Path = FILE) -> list[MetalReport]:
    """Failures of which all is known that decides about memory, and the Mac's memory."""
    failures = (each for each in _estimated(path) if each.row["class"] == "F")
    return [each for each in failures if each.row["ram_gib"]]

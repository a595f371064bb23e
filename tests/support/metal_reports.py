"""What people reported of mlx_lm.lora on Apple silicon, and what is predicted for it."""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pytest_yourai.core.errors import ModelError
from pytest_yourai.estimate.training_memory import MemoryEstimate, estimate_training_memory

from support.recorded_floors import DATA

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
        return int(lengths.get("exact") or lengths["shortest_possible"])

    @property
    def longest(self) -> int:
        lengths = self._lengths
        own = lengths.get("longest_possible") or lengths.get("exact")
        return int(own or self.row["max_seq_length"])

    @property
    def is_of_current_mlx(self) -> bool:
        """False for MLX before 0.25, and for what was not mlx-lm's own training loop."""
        return self.row["class"] not in ("O", "N")

    def estimate(self, seq_length: int) -> MemoryEstimate:
        row = self.row
        bits, keys = row["quantization_bits"], row["lora_keys"]
        return estimate_training_memory(
            row["architecture_config"],
            batch_size=row["batch_size"],
            lora_rank=row["rank"],
            lora_layers=row["lora_layers"],
            seq_length=seq_length,
            quantization_bits=None if int(bits) == _FULL_PRECISION_BITS else int(bits),
            lora_keys=_KEYS[keys] if isinstance(keys, str) else keys,
            grad_checkpoint=bool(row["grad_checkpoint"]),
            optimizer=row["optimizer"],
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
        row = self.row
        if not (row["architecture_config"] and row["batch_size"] and row["lora_layers"]):
            return False
        if not (row["seq_length"] and row["reported_peak_gb"]):
            return False
        try:
            self.estimate(self.shortest)
        except ModelError:
            return False
        return True

    @property
    def _lengths(self) -> Mapping[str, Any]:
        return dict(self.row["seq_length"])

    def __str__(self) -> str:
        row = self.row
        checkpointing = " checkpoint" if row["grad_checkpoint"] else ""
        sizes = f"batch{row['batch_size']}-rank{row['rank']}-layers{row['lora_layers']}"
        length = f"seq{self.shortest}" + f"-{self.longest}" * (self.longest != self.shortest)
        return f"{row['id']} {row['model'][:32]} {sizes} {length}{checkpointing}"


@functools.cache
def metal_reports(path: Path = DATA / "metal_reports.json") -> tuple[MetalReport, ...]:
    """All reports of a file that can be estimated."""
    document = json.loads(path.read_text(encoding="utf-8"))
    reports = map(MetalReport, document["rows"])
    return tuple(each for each in reports if each.can_be_estimated)

"""Minimum memory as tests/performance/floors.py recorded it, and its estimate."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pytest_yourai.core.device import Backend
from pytest_yourai.estimate.memory_estimate import MemoryEstimate
from pytest_yourai.estimate.training_memory import estimate_training_memory
from pytest_yourai.models.architecture import InspectedShapes

DATA = Path(__file__).parents[1] / "data"
FILES = ("floors_h200.json", "floors_cpu.json")

Group = Literal["fitted", "judged", "others"]

_JUDGED_MODELS = ("llama-3b", "qwen2-7b", "hermes-70b", "qwen2-32b")
_JUDGED_LENGTH = 512
_OTHER_ARCHITECTURES = ("qwen3-4b", "gemma2-2b", "phi3-mini")


@dataclass(frozen=True)
class Floor:
    """One recorded trial. `group` is `judged` where the coefficients were not fitted to it."""

    row: Mapping[str, Any]
    architecture: Mapping[str, Any]
    backend: Backend
    device: str

    @property
    def group(self) -> Group:
        if self.row["model"] in _OTHER_ARCHITECTURES:
            return "others"
        is_judged = self.row["model"] in _JUDGED_MODELS or self.row["seq_length"] == _JUDGED_LENGTH
        return "judged" if is_judged else "fitted"

    @property
    def minimum_bytes(self) -> int:
        return int(self.row["minimum_bytes"])

    @property
    def keys(self) -> str:
        """`qkvo`, `all` or `others`."""
        names = {key.rpartition(".")[2] for key in self.row["lora_keys"]}
        if names == {"q_proj", "k_proj", "v_proj", "o_proj"}:
            return "qkvo"
        return "all" if len(names) == 7 else "others"

    def estimate(self, inspected: InspectedShapes | None = None) -> MemoryEstimate:
        row = self.row
        return estimate_training_memory(
            self.architecture,
            batch_size=row["batch_size"],
            lora_rank=row["lora_rank"],
            lora_layers=row["lora_layers"],
            seq_length=row["seq_length"],
            quantization_bits=row["quantization_bits"],
            lora_keys=row["lora_keys"],
            grad_checkpoint=row["grad_checkpoint"],
            backend=self.backend,
            device=self.device,
            inspected=inspected,
        )

    def error(self, inspected: InspectedShapes | None = None) -> float:
        """Of the estimate, relative: negative where it is too low."""
        return self.estimate(inspected).minimum_bytes / self.minimum_bytes - 1

    def __str__(self) -> str:
        row = self.row
        parts = [
            row["model"],
            f"batch{row['batch_size']}-rank{row['lora_rank']}-layers{row['lora_layers']}",
            f"seq{row['seq_length']}",
            f"q{row['quantization_bits'] or 'none'}-{row['dtype']}",
            self.keys if self.keys != "others" else f"{len(row['lora_keys'])} keys",
        ]
        return " ".join([*parts, *(["checkpoint"] if row["grad_checkpoint"] else [])])


@functools.cache
def read_floors(file: str) -> tuple[Floor, ...]:
    document = json.loads((DATA / file).read_text(encoding="utf-8"))
    device = document["device"]
    return tuple(
        Floor(
            row=row,
            architecture={
                **document["architectures"][row["model"]],
                "torch_dtype": row["dtype"],
            },
            backend=device["backend"],
            device=device["name"],
        )
        for row in document["floors"]
    )

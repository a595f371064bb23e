"""Minimum memory of recipes as tests/performance/recipes.py recorded it, and its estimate."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pytest_yourai.core.device import Backend
from pytest_yourai.estimate.memory_estimate import MemoryEstimate
from pytest_yourai.estimate.training_memory import estimate_training_memory
from pytest_yourai.models.architecture import InspectedShapes
from pytest_yourai.models.architecture_reader import read_architecture_shapes
from pytest_yourai.models.layer_shapes import LinearShape

from support.recorded_floors import DATA

FILES = ("recipes_cpu.json", "recipes_h200.json")

MODELS_FILE = "models_h200.json"
"""Models of many architectures; not among FILES, since most count as llama's."""

KEY_SETS = {
    "qkvo": ("q_proj", "k_proj", "v_proj", "o_proj", "qkv_proj"),
    "qv": ("q_proj", "v_proj", "qkv_proj"),
}

FITTED = ("llama", "wide")
"""Models whose rows of the CPU the coefficients were fitted to; derived terms have none."""


@dataclass(frozen=True)
class RecipeRow:
    """One recorded trial of a recipe."""

    row: Mapping[str, Any]
    architecture: Mapping[str, Any]
    linears: tuple[LinearShape, ...]
    backend: Backend
    device: str

    @property
    def model(self) -> str:
        return str(self.row["model"])

    @property
    def minimum_bytes(self) -> int:
        return int(self.row["minimum_bytes"])

    @property
    def recipe(self) -> str:
        """What differs from LoRA with adam on q, k, v and o."""
        row = self.row
        parts = [row["fine_tune_type"], row["optimizer"], *row["optimizer_config"]]
        if row["fine_tune_type"] != "full":
            parts.append(row["keys"])
        if row["dropout"]:
            parts.append(f"dropout {row['dropout']}")
        if row["grad_accumulation_steps"] > 1:
            parts.append(f"accumulation {row['grad_accumulation_steps']}")
        return " ".join([*parts, *(["checkpoint"] if row["grad_checkpoint"] else [])])

    def estimate(self) -> MemoryEstimate:
        row = self.row
        return estimate_training_memory(
            self.architecture,
            batch_size=row["batch_size"],
            lora_rank=row["lora_rank"],
            lora_layers=row["lora_layers"],
            seq_length=row["seq_length"],
            quantization_bits=row["quantization_bits"],
            fine_tune_type=row["fine_tune_type"],
            optimizer=row["optimizer"],
            optimizer_config=row["optimizer_config"],
            dropout=row["dropout"],
            grad_accumulation_steps=row["grad_accumulation_steps"],
            grad_checkpoint=row["grad_checkpoint"],
            lora_keys=self._keys,
            backend=self.backend,
            device=self.device,
            inspected=self._inspected,
        )

    @property
    def is_checkpointed(self) -> bool:
        return bool(self.row["grad_checkpoint"])

    @property
    def is_judged(self) -> bool:
        """True where no coefficient was fitted to it, and the estimate is not rough by intent."""
        is_rough = self.is_checkpointed and self.backend == "cpu"
        is_fitted = self.model in FITTED and self.backend == "cpu"
        return not (is_fitted or is_rough)

    @property
    def error(self) -> float:
        """Of the estimate, relative: negative where it is too low."""
        return self.estimate().minimum_bytes / self.minimum_bytes - 1

    @property
    def _keys(self) -> list[str] | None:
        if self.row["keys"] == "all":
            return None
        there = {each.name for each in read_architecture_shapes(self.architecture).linears}
        names = self.row.get("adapted", KEY_SETS[self.row["keys"]])
        return [name for name in names if name in there]

    @property
    def _inspected(self) -> InspectedShapes | None:
        """What the built model said, where config.json is not counted exactly, if it was kept."""
        is_exact = read_architecture_shapes(self.architecture).is_exact
        if is_exact or "base_bytes" not in self.row:
            return None
        names = KEY_SETS.get(self.row["keys"])
        adapted = tuple(each for each in self.linears if names is None or each.name in names)
        per_rank = sum(linear.parameters_per_rank for linear in adapted)
        depth = self.architecture["num_hidden_layers"]
        return InspectedShapes(self.row["base_bytes"], adapted, (per_rank,) * depth)

    def __str__(self) -> str:
        row = self.row
        sizes = f"batch{row['batch_size']}-rank{row['lora_rank']}-layers{row['lora_layers']}"
        return f"{self.model} {sizes} seq{row['seq_length']} {self.recipe}"


@functools.cache
def read_recipes(file: str) -> tuple[RecipeRow, ...]:
    document = json.loads((DATA / file).read_text(encoding="utf-8"))
    device = document["device"]
    return tuple(
        RecipeRow(
            row,
            document["architectures"][row["model"]],
            tuple(LinearShape(*each) for each in document["linears"].get(row["model"], ())),
            device["backend"],
            device["name"],
        )
        for row in document["recipes"]
    )


def estimated_recipes() -> tuple[RecipeRow, ...]:
    """All rows but those of mixtures of experts, which are measured only."""
    rows = [row for file in FILES for row in read_recipes(file)]
    return tuple(row for row in rows if "num_local_experts" not in row.architecture)

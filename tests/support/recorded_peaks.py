"""Peaks of training steps as they were recorded, and their estimates."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from pytest_yourai.core.errors import ModelError
from pytest_yourai.estimate.memory_estimate import MemoryEstimate

from support.recorded_floors import DATA
from support.recorded_recipes import MODELS_FILE, RecipeRow, read_recipes

_MATRICES = ("llama3b_512", "llama8b_256", "qwen05b_128", "qwen14b_256")

_FITTED_MODELS = ("mistral-nemo", "granite-3-2b", "smollm3-3b", "llama-8b")
"""Models beside those of the matrices that the coefficients were fitted to."""


@dataclass(frozen=True)
class PeakRow:
    """One recorded trial, under MLX's memory limit of `limit_bytes`, None where it had room."""

    recipe: RecipeRow
    peak_bytes: int
    is_fitted: bool
    limit_bytes: int | None = None

    @property
    def model(self) -> str:
        return self.recipe.model

    @cached_property
    def estimate(self) -> MemoryEstimate:
        return self.recipe.estimate()

    @property
    def predicted_bytes(self) -> int:
        """The predicted peak, within the limit."""
        if self.limit_bytes is None:
            return self.estimate.peak_bytes
        return self.estimate.peak_bytes_under(self.limit_bytes)

    @property
    def error(self) -> float:
        """Of the prediction, relative: negative where it is too low."""
        return self.predicted_bytes / self.peak_bytes - 1

    @property
    def is_judged(self) -> bool:
        """True where no coefficient was fitted to it, and no limit decided."""
        return not self.is_fitted and self.limit_bytes is None

    def __str__(self) -> str:
        return str(self.recipe)


@functools.cache
def recorded_peaks() -> tuple[PeakRow, ...]:
    """All rows whose model can be estimated by its config.json."""
    return tuple(row for row in (*_matrices(), *_recipes(), *_others()) if _has_estimate(row))


def _has_estimate(row: PeakRow) -> bool:
    try:
        return row.estimate.minimum_bytes > 0
    except ModelError:
        return False


def _matrices() -> Iterator[PeakRow]:
    for name in _MATRICES:
        document = _read(f"matrix_h200_{name}.json")
        architecture = _read("floors_h200.json")["architectures"][document["model"]]
        for row in document["all_results"]:
            usual = {**_USUAL, "model": document["model"], "keys": "qkvo", "quantization_bits": 4}
            sizes = {"minimum_bytes": row["minimum_memory_bytes"]}
            lengths = {"seq_length": row["max_seq_length"]}
            recipe = RecipeRow(
                {**usual, **row, **sizes, **lengths}, architecture, (), "cuda", "NVIDIA H200"
            )
            yield PeakRow(recipe, round(row["peak_memory_mb"] * 1e6), is_fitted=True)


def _recipes() -> Iterator[PeakRow]:
    for recipe in (*read_recipes("recipes_h200.json"), *read_recipes(MODELS_FILE)):
        is_fitted = recipe.model in _FITTED_MODELS
        yield PeakRow(recipe, recipe.row["peak_bytes"], is_fitted=is_fitted)


def _others() -> Iterator[PeakRow]:
    for document in map(_read, ("peaks_h200.json", "peaks_cpu.json")):
        device = document["device"]
        for row in document["recipes"]:
            architecture = document["architectures"][row["model"]]
            recipe = RecipeRow(
                {**_USUAL, **row}, architecture, (), device["backend"], device["name"]
            )
            limit_bytes = row["limit_bytes"]
            yield PeakRow(recipe, row["peak_bytes"], is_fitted=True, limit_bytes=limit_bytes)


_USUAL: Mapping[str, Any] = {
    "fine_tune_type": "lora",
    "optimizer": "adam",
    "optimizer_config": {},
    "dropout": 0.0,
    "grad_accumulation_steps": 1,
    "grad_checkpoint": False,
}


@functools.cache
def _read(file: str) -> dict[str, Any]:
    return dict(json.loads((DATA / file).read_text(encoding="utf-8")))

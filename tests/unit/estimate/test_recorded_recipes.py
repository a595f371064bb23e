"""Recipes as they were measured: fitted to one model, and met by the others."""

from __future__ import annotations

import statistics

import pytest

from support.recorded_recipes import MODELS_FILE, RecipeRow, estimated_recipes, read_recipes

ROWS = estimated_recipes()
ON_A_GPU = read_recipes("recipes_h200.json")

OFF_AT_MOST = {
    "qwen3-8b": 0.015,
    "gemma2-9b": 0.03,
    "gemma3-4b": 0.05,
    "phi4-mini": 0.04,
    "glm4-9b": 0.02,
    "olmo2-7b": 0.02,
    "lfm2-2.6b": 0.027,
    "granite-3-2b": 0.022,
    "mistral-nemo": 0.015,
    "smollm3-3b": 0.025,
    "deepseek-v2-lite": 0.025,
    "gpt-oss-20b": 0.02,
    "qwen3-moe-30b": 0.02,
}
"""Errors of estimates from config.json alone, which these models have now."""

JUDGED = [row for row in ROWS if row.is_judged]


@pytest.mark.parametrize("row", [pytest.param(row, id=f"{row.backend} {row}") for row in ROWS])
def test_no_recorded_recipe_is_above_the_conservative_estimate(row: RecipeRow) -> None:
    assert row.minimum_bytes <= row.estimate().conservative_bytes


def test_recipes_that_it_was_not_fitted_to_are_met() -> None:
    errors = [abs(row.error) for row in JUDGED]
    assert len(errors) > 30
    assert len({row.model for row in JUDGED}) > 4
    assert statistics.mean(errors) <= 0.02
    assert max(errors) <= 0.06


def test_the_recipe_moves_memory_and_the_estimate_knows_how_much() -> None:
    rows = {row.recipe: row for row in ROWS if row.model == "llama-8b"}
    usual = rows.pop("lora adam qkvo")
    for row in rows.values():
        measured = row.minimum_bytes - usual.minimum_bytes
        predicted = row.estimate().minimum_bytes - usual.estimate().minimum_bytes
        assert predicted == pytest.approx(measured, rel=0.08, abs=20e6), str(row)


@pytest.mark.parametrize("row", [pytest.param(row, id=str(row)) for row in ON_A_GPU])
def test_a_sweep_on_a_gpu_measures_what_mlx_lm_needs_and_the_estimate_meets_it(
    row: RecipeRow,
) -> None:
    assert abs(row.error) <= 0.03
    assert row.estimate().conservative_bytes <= 1.22 * row.minimum_bytes
    if row.row["stock_minimum_gb"] is not None:
        assert row.minimum_bytes == pytest.approx(row.row["stock_minimum_gb"] * 1e9, rel=0.01)
    # Peaks of mlx-lm itself depend on how far it runs ahead of the device.
    assert row.row["peak_bytes"] == pytest.approx(row.row["stock_peak_gb"] * 1e9, rel=0.055)


@pytest.mark.parametrize("model", OFF_AT_MOST)
def test_estimates_of_other_architectures_get_no_worse(model: str) -> None:
    rows = [row for row in read_recipes(MODELS_FILE) if row.model == model]
    assert len(rows) == 6
    for row in rows:
        assert abs(row.error) <= OFF_AT_MOST[model], str(row)
        assert row.minimum_bytes <= row.estimate().conservative_bytes


def test_other_architectures_are_met_on_average() -> None:
    errors = [abs(row.error) for row in read_recipes(MODELS_FILE)]
    assert len(errors) == 6 * len(OFF_AT_MOST)
    assert statistics.mean(errors) <= 0.0125

"""Recipes as they were measured: fitted to one model, and met by the others."""

from __future__ import annotations

import statistics

import pytest

from support.recorded_recipes import RecipeRow, estimated_recipes

ROWS = estimated_recipes()
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
        # The recorded minima are rounded to 10 MB.
        assert predicted == pytest.approx(measured, rel=0.08, abs=20e6), str(row)

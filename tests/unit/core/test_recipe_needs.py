"""Which recipe needs no less than another: by rule, and as it was measured."""

from __future__ import annotations

import dataclasses
import itertools
from dataclasses import dataclass
from typing import Any

import pytest

from pytest_yourai.core.recipe_needs import recipe_needs_at_least_as_much

from support.recorded_recipes import FILES, KEY_SETS, RecipeRow, read_recipes

NOISE = 0.012
"""Equal trials differ by as much, relative to their minimum."""


@dataclass(frozen=True)
class Axes:
    fine_tune_type: str = "lora"
    optimizer: str = "adam"
    key_names: tuple[str, ...] | None = ("q_proj", "v_proj")
    dropout: float = 0.0
    grad_accumulation_steps: int = 1


USUAL = Axes()


@pytest.mark.parametrize(
    ("change", "needs_more", "needs_less"),
    [
        ({}, True, True),
        ({"fine_tune_type": "dora"}, True, False),
        ({"fine_tune_type": "full"}, False, False),
        ({"optimizer": "adamw"}, True, True),
        ({"optimizer": "sgd"}, False, True),
        ({"optimizer": "adafactor"}, False, True),
        ({"optimizer": "muon"}, False, False),
        ({"key_names": ("v_proj", "q_proj")}, True, True),
        ({"key_names": ("q_proj", "k_proj", "v_proj")}, True, False),
        ({"key_names": ("q_proj", "k_proj")}, False, False),
        ({"key_names": None}, True, False),
        ({"dropout": 0.1}, True, False),
        ({"grad_accumulation_steps": 4}, True, False),
        ({"dropout": 0.1, "optimizer": "sgd"}, False, False),
    ],
)
def test_a_recipe_beside_the_usual_one(
    change: dict[str, Any], needs_more: bool, needs_less: bool
) -> None:
    other = dataclasses.replace(USUAL, **change)
    assert recipe_needs_at_least_as_much(other, USUAL) == needs_more
    assert recipe_needs_at_least_as_much(USUAL, other) == needs_less


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (Axes(dropout=0.05), Axes(dropout=0.5)),
        (Axes(grad_accumulation_steps=2), Axes(grad_accumulation_steps=16)),
        (Axes(key_names=None), Axes(key_names=None)),
        (Axes(optimizer="muon"), Axes(optimizer="sgd")),
        (Axes(optimizer="muon"), Axes(optimizer="adafactor")),
    ],
)
def test_more_of_the_same_needs_no_more(one: Axes, other: Axes) -> None:
    assert recipe_needs_at_least_as_much(one, other)


def axes(row: RecipeRow) -> Axes:
    keys = KEY_SETS.get(row.row["keys"])
    names = ("fine_tune_type", "optimizer", "dropout", "grad_accumulation_steps")
    return Axes(key_names=keys, **{name: row.row[name] for name in names})


def sizes(row: RecipeRow) -> tuple[Any, ...]:
    names = ("model", "batch_size", "lora_rank", "lora_layers", "seq_length", "grad_checkpoint")
    return (row.backend, *(row.row[name] for name in names))


def ordered_pairs() -> list[tuple[RecipeRow, RecipeRow]]:
    """Rows of the same sizes, of which the first needs at least as much as the second."""
    rows = [row for file in FILES for row in read_recipes(file)]
    return [
        (one, other)
        for one, other in itertools.permutations(rows, 2)
        if sizes(one) == sizes(other) and have_equal_settings(one, other)
        if recipe_needs_at_least_as_much(axes(one), axes(other))
    ]


def have_equal_settings(one: RecipeRow, other: RecipeRow) -> bool:
    """True if both could be of one sweep, which has one `optimizer_config`."""
    is_same = one.row["optimizer"] == other.row["optimizer"]
    return not is_same or one.row["optimizer_config"] == other.row["optimizer_config"]


def test_what_was_measured_agrees() -> None:
    pairs = ordered_pairs()
    assert len(pairs) > 100
    for one, other in pairs:
        assert one.minimum_bytes >= (1 - NOISE) * other.minimum_bytes, f"{one} against {other}"

"""Which recipe needs at least as much memory as another, where that was measured.

tests/data/recipes_cpu.json and recipes_h200.json have the measurements. What they do not order is
not ordered here: full fine-tuning and adapters, whose rank and base decide; and sgd and adafactor,
adam and muon, where the number of tokens decides. Settings of optimizers are those of one sweep.
"""

from __future__ import annotations

from typing import Protocol

_SAME_OR_LESS = {
    "adam": {"adam", "adamw", "sgd", "adafactor"},
    "adamw": {"adam", "adamw", "sgd", "adafactor"},
    "muon": {"muon", "sgd", "adafactor"},
    "sgd": {"sgd"},
    "adafactor": {"adafactor"},
}
"""For each optimizer, those that need no more; also with momentum, or adafactor with beta_1."""

LIGHTEST_OPTIMIZERS = ("sgd", "adafactor", "adam", "adamw", "muon")
"""By what they need, roughly."""

_SAME_OR_LESS_TRAINED = {"lora": {"lora"}, "dora": {"dora", "lora"}, "full": {"full"}}


class RecipeAxes(Protocol):
    """The axes of a recipe, by mlx-lm's names."""

    @property
    def fine_tune_type(self) -> str:
        """lora, dora or full."""

    @property
    def optimizer(self) -> str:
        """An optimizer of mlx-lm."""

    @property
    def key_names(self) -> tuple[str, ...] | None:
        """Names of linear layers with adapters; None is all of them."""

    @property
    def dropout(self) -> float:
        """Share of an adapter's input that is dropped."""

    @property
    def grad_accumulation_steps(self) -> int:
        """Steps before each update."""


def recipe_needs_at_least_as_much(one: RecipeAxes, other: RecipeAxes) -> bool:
    """True if minimum memory of `one` cannot be below that of `other`, all else being equal.

    Any dropout above 0 needs the same, and so does any accumulation above 1.
    """
    return (
        other.fine_tune_type in _SAME_OR_LESS_TRAINED[one.fine_tune_type]
        and other.optimizer in _SAME_OR_LESS[one.optimizer]
        and (one.key_names is None or _has_all(one.key_names, other.key_names))
        and bool(one.dropout) >= bool(other.dropout)
        and (one.grad_accumulation_steps > 1) >= (other.grad_accumulation_steps > 1)
    )


def _has_all(keys: tuple[str, ...], others: tuple[str, ...] | None) -> bool:
    return others is not None and set(keys) >= set(others)

"""What of a recipe decides about memory beside the configuration, by mlx-lm's names."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

FineTuneType = Literal["lora", "dora", "full"]

OptimizerName = Literal["adam", "adamw", "muon", "sgd", "adafactor"]

FINE_TUNE_TYPES: tuple[str, ...] = get_args(FineTuneType)

OPTIMIZERS: tuple[str, ...] = get_args(OptimizerName)


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a configuration is trained; with mlx-lm's defaults.

    `has_first_moment` is True for adafactor with `beta_1`: no other setting of an optimizer moves
    memory, nor do learning rates, their schedules, seeds and masked prompts.
    """

    fine_tune_type: FineTuneType = "lora"
    optimizer: OptimizerName = "adam"
    has_first_moment: bool = False
    dropout: float = 0.0
    grad_accumulation_steps: int = 1


USUAL_RECIPE = Recipe()

"""What a recipe file decides of a training run."""

from __future__ import annotations

import dataclasses

from pytest_yourai.core.recipe import MLX_LM_DEFAULTS, Recipe
from pytest_yourai.plan.recipe_file import RecipeFile
from pytest_yourai.training.option_values import VALUE_OPTIONS, TrainValues

_MLX_LM_NAMES = {"iters": "max_steps", "steps_per_report": "memory_report_interval"}
"""Keys of a recipe that training calls otherwise."""


def recipe_values(file: RecipeFile) -> TrainValues:
    """The values that a recipe file decides; what it leaves at a default is not decided."""
    named = {_MLX_LM_NAMES.get(name, name): value for name, value in file.training.items()}
    found = {name: value for name, value in named.items() if name in VALUE_OPTIONS}
    recipe = {
        each.name: getattr(file.recipe, each.name)
        for each in dataclasses.fields(Recipe)
        if each.name in VALUE_OPTIONS
        and getattr(file.recipe, each.name) != getattr(MLX_LM_DEFAULTS, each.name)
    }
    data = {"data": file.recipe.data or file.data}
    axes = {name: values[0] for name, values in file.axes.items()}
    return TrainValues(**(found | recipe | data | axes))

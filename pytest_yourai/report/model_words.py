"""The words of a command that name a model, its presets and the budget."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from pytest_yourai.core.axes import AXES
from pytest_yourai.core.paths import packaged_models
from pytest_yourai.core.units import GB
from pytest_yourai.plan.arguments import only_flags
from pytest_yourai.plan.invocation import Invocation
from pytest_yourai.plan.options import Options
from pytest_yourai.plan.stages import RunPlan, Stage

_OF_ALL_MODELS = (
    *(f"--yourai-{axis.flag}" for axis in AXES),
    *("--yourai-effective-batch-size", "--yourai-data", "--yourai-bad-rows"),
    *("--yourai-mask-prompt", "--yourai-hosts", "--yourai-hosts-backend"),
)
"""What is trained, and how, whatever the model is."""


def estimates_line(options: Options, invocation: Invocation) -> str:
    """The command that prints which models fit by estimate, trained as this one was."""
    recipe = options.recipe_file
    is_of_all = recipe is not None and recipe.model is None
    own = ("--yourai-config",) if is_of_all else ()
    kept = only_flags(invocation.arguments, *_OF_ALL_MODELS, *own)
    words = (*preset_words(options), *budget_words(options), *kept)
    return invocation.line("--yourai-recommend", *words)


def budget_words(options: Options) -> list[str]:
    """The argument for the user's budget."""
    limit_bytes = options.memory_limit_bytes
    return [f"--yourai-max-memory={limit_bytes / GB:g}"] if limit_bytes is not None else []


def model_words(setup: RunPlan, stage: Stage) -> Iterator[str]:
    """The arguments of pytest for the model of `stage`, and for what it trains."""
    yield from preset_words(setup.options)
    yield f"--yourai-model={stage.asked_as}"
    yield from setup.options.recipe_flags


def own_presets(options: Options) -> Path | None:
    return None if options.presets == packaged_models() else options.presets


def preset_words(options: Options) -> Iterator[str]:
    """The argument for the user's own presets."""
    if presets := own_presets(options):
        yield f"--yourai-models={presets}"

"""The commands to type next: training, the full matrix, or a configuration that may fit."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pytest_yourai.core.answers import Answers, Pick, find_answers, headlined
from pytest_yourai.core.paths import from_here, packaged_models
from pytest_yourai.core.results import TrialResult
from pytest_yourai.core.shell import command_line
from pytest_yourai.models.presets import read_presets
from pytest_yourai.plan.arguments import without_flags
from pytest_yourai.plan.invocation import Invocation
from pytest_yourai.plan.options import Options
from pytest_yourai.plan.stages import RunPlan
from pytest_yourai.report.fitting_commands import what_may_fit, what_would_fit
from pytest_yourai.report.model_words import (
    estimates_line,
    model_words,
    own_presets,
)
from pytest_yourai.store.benchmark_results import recommended
from pytest_yourai.store.stored_profile import StoredProfile
from pytest_yourai.sweep.run_results import RunResults, StageResults

_QUICK = ("--quick", "--yourai-quick")

_NO_MODEL = "MODEL"

_NO_DATA = "FOLDER"

_OF_RECIPE = ""
"""The data of a command whose recipe names it."""


def _train_words(
    model: str,
    profile: str,
    *,
    is_made_up: bool,
    has_weights: bool,
    data: str | None,
    reading: Sequence[str],
    recipe: Path | None = None,
    presets: Path | None = None,
    trust_remote_code: bool = False,
) -> list[str]:
    """The words of a `yourai train`: a dry run if the model has no real weights.

    `data` is that of a flag; a `recipe` may name its own.
    """
    words = ["yourai", "train", "--model", model, "--profile", profile]
    if recipe is not None:
        words += ["--config", str(recipe)]
    if presets is not None:
        words += ["--models", str(presets)]
    if is_made_up:
        words += ["--weights", "hub" if has_weights else "synthetic"]
    if trust_remote_code:
        words.append("--trust-remote-code")
    if data == _OF_RECIPE:
        words += reading
    elif data:
        words += ["--data", data, *reading]
    elif has_weights or not is_made_up:
        words += ["--data", _NO_DATA]
    return words


def _reading(bad_rows: str | None, mask_prompt: bool | None) -> list[str]:
    """The flags of `yourai train` that read the rows as the sweep did."""
    skips = ["--bad-rows", "skip"] if bad_rows == "skip" else []
    return skips + (["--mask-prompt"] if mask_prompt else [])


def next_steps(
    setup: RunPlan, collected: RunResults, invocation: Invocation, profile: str
) -> Iterator[str]:
    """Lines for the end of a run that was started by `invocation`.

    `profile` is the file that it has written, relative to the working directory.
    """
    options = setup.options
    found = collected.recommended_sweep()
    is_over = collected.is_complete and not collected.is_soaking
    if not is_over and not options.is_replay:
        yield f"To go on: {_resumed(options, invocation)}"
    elif found is not None and collected.headline(found) is not None:
        yield from _training(setup, collected, found, invocation, profile)
        if any(each in _QUICK for each in invocation.arguments):
            others = without_flags(invocation.arguments, *_QUICK)
            yield f"Or the full matrix: {invocation.line(*others)}"
        yield from what_would_fit(setup, found, invocation)
    elif setup.is_walk and not options.sweeps_models:
        yield from _sweep_of_recommended(setup, collected, invocation)
    elif found is not None:
        if any(each.lacks_memory for each in found.results):
            yield from what_may_fit(setup, found, invocation)
        elif not options.is_replay:
            yield f"Next, once what failed is fixed: {_resumed(options, invocation)}"


def _training(
    setup: RunPlan,
    collected: RunResults,
    found: StageResults,
    invocation: Invocation,
    profile: str,
) -> Iterator[str]:
    """The commands that train with the answers of a sweep, beginning with the first."""
    options, stage = setup.options, found.stage
    if options.is_replay:
        asked = (*model_words(setup, stage), _configurations(options))
        yield f"Next, to measure it here: {invocation.line(*asked)}"
        return
    model = stage.setup.model if stage.setup else None
    is_made_up = model is not None and model.weights == "synthetic"
    has_weights = bool(model and model.preset and model.preset.repo)
    words = _train_words(
        stage.asked_as,
        profile,
        is_made_up=is_made_up,
        has_weights=has_weights,
        data=_OF_RECIPE if options.has_data_of_recipe else options.data,
        reading=_reading(options.bad_rows, options.recipe.mask_prompt),
        recipe=_recipe(options),
        presets=own_presets(options),
        trust_remote_code=options.trust_remote_code,
    )
    words += invocation.training
    is_dry = is_made_up and not has_weights
    start = f"Next{', as a dry run' if is_dry else ''}: "
    rows = collected.rows(found)
    answers = find_answers(rows.remaining)
    for result, pick in _picks(answers, headlined(answers, rows.results, options.objective)):
        label = start or f"Or the {', '.join(answers.names(result))}: "
        yield f"{label}{command_line(*words, *pick)}"
        start = ""


def _picks(answers: Answers, first: TrialResult | None) -> Iterator[tuple[TrialResult, list[str]]]:
    """Each answer and the flag that picks it, beginning with the `first`."""
    found = sorted(answers, key=lambda each: each[1] is not first)
    for names, result in found:
        yield result, ["--pick", names[0]] if len(found) > 1 else []


def _recipe(options: Options) -> Path | None:
    return None if options.recipe_file is None else from_here(options.recipe_file.path)


def _configurations(options: Options) -> str:
    """The argument of pytest for the configurations of a replay."""
    return "--quick" if options.matrix is None else f"--yourai-matrix={from_here(options.matrix)}"


def _sweep_of_recommended(
    setup: RunPlan, collected: RunResults, invocation: Invocation
) -> Iterator[str]:
    best = recommended(collected.models())
    stage = next((each for each in setup.stages if best and each.asked_as == best.preset), None)
    if stage is not None:
        yield f"Next: {invocation.line(*model_words(setup, stage), '--quick')}"
    else:
        yield f"Next, what fits by estimate: {estimates_line(setup.options, invocation)}"


def _resumed(options: Options, invocation: Invocation) -> str:
    resume = [] if options.resume else ["--yourai-resume"]
    return invocation.line(*invocation.arguments, *resume)


@dataclass(frozen=True)
class TrainingCommand:
    """A command, and notes on placeholders in it and on its weights.

    `result` is the configuration that it trains, `names` which of the answers that is.
    """

    text: str
    notes: tuple[str, ...]
    names: tuple[Pick, ...]
    result: TrialResult


def training_commands(profile: StoredProfile) -> list[TrainingCommand]:
    """The commands that train with the answers of a profile, beginning with the headline."""
    words = _words_for(profile)
    notes = tuple(_notes(profile, words))
    return [
        TrainingCommand(command_line(*words, *pick), notes, profile.answers.names(result), result)
        for result, pick in _picks(profile.answers, profile.headline)
    ]


def _words_for(profile: StoredProfile) -> list[str]:
    """The words of a `yourai train` with a profile that may come from anywhere."""
    preset = read_presets(packaged_models()).get(profile.model)
    model = profile.model if preset else _NO_MODEL
    has_weights = preset is None or preset.repo is not None
    settings, data = profile.settings, profile.settings.data
    recipe = Path(settings.recipe_file) if settings.recipe_file else None
    if settings.recipe.get("hf_dataset"):  # of which `data` is a name for people
        data = None if recipe is None else _OF_RECIPE
    return _train_words(
        model,
        profile.name,
        is_made_up=not has_weights or settings.weights == "synthetic",
        has_weights=has_weights,
        data=data,
        reading=_reading(settings.bad_rows, settings.recipe.get("mask_prompt")),
        recipe=recipe,
    )


def _notes(profile: StoredProfile, command: list[str]) -> Iterator[str]:
    if _NO_MODEL in command:
        yield f"{_NO_MODEL} is the folder or the owner/name that {profile.model} was read from."
    if _NO_DATA in command:
        yield f"{_NO_DATA} has a train.jsonl; the name of a Hugging Face data set works, too."
    if "hub" in command:
        yield "It was measured with made-up weights: --weights hub downloads the real ones."
    if "synthetic" in command:
        yield "A dry run: this model has made-up weights alone."

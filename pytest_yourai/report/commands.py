"""The commands to type next: training, the full matrix, or a configuration that may fit."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from pytest_yourai.core.answers import find_answers, headlined
from pytest_yourai.core.axes import GRAD_ACCUMULATION_STEPS, LORA_KEYS, SIZES, VARIANTS, value_text
from pytest_yourai.core.config import LoraConfig
from pytest_yourai.core.outcomes import SkipReason
from pytest_yourai.core.paths import from_here
from pytest_yourai.core.ranking import accumulation_follows
from pytest_yourai.core.shell import command_line
from pytest_yourai.plan.arguments import without_flags
from pytest_yourai.plan.invocation import Invocation
from pytest_yourai.plan.options import Options
from pytest_yourai.plan.stages import RunPlan, Stage
from pytest_yourai.report.fitting_commands import what_may_fit, what_would_fit
from pytest_yourai.report.model_words import estimates_line, own_presets, preset_words
from pytest_yourai.report.shorter_rows_lines import shorter_rows_text
from pytest_yourai.report.training_commands import (
    OF_RECIPE,
    picks,
    reading_flags,
    shorter_rows_words,
    train_words,
)
from pytest_yourai.store.benchmark_results import recommended
from pytest_yourai.sweep.offers import shorter_rows_of
from pytest_yourai.sweep.run_results import RunResults
from pytest_yourai.sweep.stage_results import StageResults

_QUICK = ("--quick", "--yourai-quick")

_SELECTING = ("-k", "-m", "--deselect", "--lf", "--last-failed", "--yourai-resume")
"""Flags by which a run is less than its matrix, or goes on with one."""

_ONLY_OF_REPLAY = (
    *("--yourai-replay", "--yourai-model", "--yourai-models", "-k", "-m"),
    *("--yourai-benchmark", "--yourai-optimize"),
)


_ONLY_OF_WALK = (
    *("--yourai-benchmark", "--yourai-model", "--yourai-models", "-k", "-m"),
    *("--yourai-output", "--yourai-report", "--yourai-markdown", "--yourai-resume"),
    *("--yourai-compare", "--yourai-fail-on", "--yourai-confirm"),
)
"""Flags of a walk that are not those of the sweep to come."""


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
            others = without_flags(invocation.arguments, *_QUICK, *_SELECTING)
            yield f"Or the full matrix: {invocation.line(*others)}"
        yield from what_would_fit(setup, found, invocation)
    elif setup.is_walk and not options.sweeps_models:
        yield from _sweep_of_recommended(setup, collected, invocation)
    elif found is not None:
        if any(each.lacks_memory for each in found.results):
            yield from what_may_fit(setup, found, invocation)
        elif not options.is_replay and not _are_refused(found):
            yield f"Next, once what failed is fixed: {_resumed(options, invocation)}"


def _are_refused(found: StageResults) -> bool:
    """True if no configuration can be run as it is, whenever that is tried."""
    return all(each.skip_reason is SkipReason.INVALID for each in found.results)


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
        yield _measured_here(options, stage, invocation)
        return
    model = stage.setup.model if stage.setup else None
    is_made_up = model is not None and model.weights == "synthetic"
    has_weights = bool(model and model.preset and model.preset.repo)
    words = train_words(
        stage.asked_as,
        profile,
        is_made_up=is_made_up,
        has_weights=has_weights,
        data=OF_RECIPE if options.has_data_of_recipe else _data(options),
        reading=reading_flags(options.bad_rows, options.recipe.mask_prompt),
        recipe=_recipe(options),
        presets=own_presets(options),
        hosts=_hosts(options),
        trust_remote_code=options.trust_remote_code,
    )
    words += invocation.training
    is_dry = is_made_up and not has_weights
    start = f"Next{', as a dry run' if is_dry else ''}: "
    rows = collected.rows(found)
    answers = find_answers(rows.remaining)
    for result, pick in picks(answers, headlined(answers, rows.results, options.objective)):
        label = start or f"Or the {', '.join(answers.names(result))}: "
        yield f"{label}{command_line(*words, *pick)}"
        start = ""
    first = collected.headline_of(rows)
    for offer in shorter_rows_of(found, rows.results, first):
        yield f"Or with shorter rows, {shorter_rows_text(offer)}"
        yield f"    {command_line(*words, *shorter_rows_words(offer.config, stage.naming))}"


def _data(options: Options) -> str | None:
    """The data of a flag, as seen from here where it is a folder."""
    if options.data is None or not Path(options.data).is_absolute():
        return options.data
    return str(from_here(Path(options.data)))


def _hosts(options: Options) -> list[str]:
    """The flags of `yourai train` that name the ranks of the sweep."""
    group = options.hosts
    if group is None:
        return []
    named = group.world_size if group.hostfile is None else from_here(group.hostfile)
    backend = ["--hosts-backend", str(group.backend)] if "hosts-backend" in options.given else []
    return ["--hosts", str(named), *backend]


def _recipe(options: Options) -> Path | None:
    return None if options.recipe_file is None else from_here(options.recipe_file.path)


def _measured_here(options: Options, stage: Stage, invocation: Invocation) -> str:
    """The command that measures what was replayed, with the flags of the replay.

    A recording says too little of a model that is no preset: the user has to name a folder.
    """
    is_known = bool(stage.model.architecture)
    model, copy = (stage.asked_as, "") if is_known else ("FOLDER", f" with {stage.asked_as}")
    kept = without_flags(invocation.arguments, *_ONLY_OF_REPLAY)
    is_chosen = options.matrix or any(axis.name in options.axes for axis in SIZES)
    quick = [] if is_chosen or any(each in _QUICK for each in kept) else ["--quick"]
    ranks = stage.setup.plan.settings.world_size if stage.setup else None
    hosts = [f"--yourai-hosts={ranks}"] if ranks is not None and ranks > 1 else []
    own = (*_recorded(options, stage), *hosts)
    words = (*preset_words(options), f"--yourai-model={model}", *kept, *quick, *own)
    return f"Next, to measure it here{copy}: {invocation.line(*words)}"


def _recorded(options: Options, stage: Stage) -> Iterator[str]:
    """The flags for what was recorded, beside sizes, and would not be measured without them."""
    configs = stage.setup.plan.configs if stage.setup else ()
    usual = LoraConfig(1, 1, 1, stage.model.default_max_seq_length)
    for axis in VARIANTS:
        values = dict.fromkeys(axis.of(each) for each in configs if axis.applies_to(each))
        if axis.name in options.axes or not values or list(values) == [axis.of(usual)]:
            continue
        if axis is GRAD_ACCUMULATION_STEPS and options.effective_batch_size is not None:
            continue
        if axis is GRAD_ACCUMULATION_STEPS and accumulation_follows(configs):
            yield f"--yourai-effective-batch-size={configs[0].effective_batch_size}"
        elif axis is LORA_KEYS and len(values) > 1:
            # A flag takes one set.
            continue
        elif axis.metavar is not None:
            yield f"--yourai-{axis.flag}={','.join(map(value_text, sorted(values)))}"
        elif list(values) == [True]:
            yield f"--yourai-{axis.flag}"


def _sweep_of_recommended(
    setup: RunPlan, collected: RunResults, invocation: Invocation
) -> Iterator[str]:
    best = recommended(collected.models())
    stage = next((each for each in setup.stages if best and each.asked_as == best.preset), None)
    if stage is not None:
        kept = without_flags(invocation.arguments, *_ONLY_OF_WALK)
        words = (*preset_words(setup.options), f"--yourai-model={stage.asked_as}", *kept)
        yield f"Next: {invocation.line(*words, '--quick')}"
    else:
        yield f"Next, what fits by estimate: {estimates_line(setup.options, invocation)}"


def _resumed(options: Options, invocation: Invocation) -> str:
    resume = [] if options.resume else ["--yourai-resume"]
    return invocation.line(*invocation.arguments, *resume)

"""What to type next: training with what was found, what was left out, or what may fit."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pytest_yourai.core.config import Quantization
from pytest_yourai.core.paths import packaged_models
from pytest_yourai.core.sanitize import redactor
from pytest_yourai.models.presets import read_presets
from pytest_yourai.plan.options import OutputOptions
from pytest_yourai.plan.stages import RunPlan, Stage
from pytest_yourai.store.benchmark_results import recommended
from pytest_yourai.store.stored_profile import StoredProfile
from pytest_yourai.sweep.run_results import RunResults, StageResults

_QUICK = ("--quick", "--yourai-quick")

_SHORTEST_ROWS = 128

_FEWEST_BITS = 4


def next_steps(
    setup: RunPlan, collected: RunResults, arguments: Sequence[str], profile: str
) -> Iterator[str]:
    """Lines for the end of a run that was started as `pytest` with `arguments`.

    `profile` is the file that it has written, as it is named from here.
    """
    for line in _steps(setup, collected, arguments, profile):
        yield redactor()(line)


def _steps(
    setup: RunPlan, collected: RunResults, arguments: Sequence[str], profile: str
) -> Iterator[str]:
    options = setup.output
    found = collected.recommended_sweep()
    is_over = collected.is_complete and not collected.is_soaking
    if not is_over and not options.is_replay:
        yield f"To go on: {_resumed(options, arguments)}"
    elif found is not None and collected.optimum(found) is not None:
        yield _training(setup, found.stage, profile)
        if any(each in _QUICK for each in arguments):
            yield f"Or the full matrix: {_pytest(_without(arguments, *_QUICK))}"
    elif setup.is_walk and not options.sweeps_models:
        yield from _sweep_of_recommended(setup, collected)
    elif found is not None:
        yield from _what_may_fit(options, found, arguments)


def _training(setup: RunPlan, stage: Stage, profile: str) -> str:
    """How to train with the optimum of `stage`."""
    options, command = setup.output, ["yourai", "train"]
    if options.is_replay:
        return f"Next, to measure it here: {_pytest([*_model(setup, stage), '--quick'])}"
    model = stage.setup.model if stage.setup else None
    command += ["--model", stage.asked_as, "--profile", profile]
    if options.presets != packaged_models():
        command += ["--models", str(options.presets)]
    is_made_up = model is not None and model.weights == "synthetic"
    is_dry = is_made_up and not (model and model.preset and model.preset.repo)
    if is_made_up:
        command += ["--weights", "synthetic" if is_dry else "hub"]
    if options.trust_remote_code:
        command.append("--trust-remote-code")
    if options.data is not None:
        command += ["--data", options.data]
    elif not is_dry:
        command += ["--data", "FOLDER"]
    return f"Next{', as a dry run' if is_dry else ''}: {shlex.join(command)}"


def _sweep_of_recommended(setup: RunPlan, collected: RunResults) -> Iterator[str]:
    best = recommended(collected.models())
    stage = next((each for each in setup.stages if best and each.asked_as == best.preset), None)
    if stage is not None:
        yield f"Next: {_pytest([*_model(setup, stage), '--quick'])}"
    else:
        yield f"Next, what fits by estimate: {_estimates(setup.output)}"


def _estimates(options: OutputOptions) -> str:
    """The command that says which models fit, without running any."""
    return _pytest(["--yourai-recommend", *_presets(options), *_budget(options)])


def _model(setup: RunPlan, stage: Stage) -> Iterator[str]:
    """The arguments of pytest that name it."""
    yield from _presets(setup.output)
    yield f"--yourai-model={stage.asked_as}"


def _presets(options: OutputOptions) -> Iterator[str]:
    """The argument that names the user's own ones."""
    if options.presets != packaged_models():
        yield f"--yourai-models={options.presets}"


def _budget(options: OutputOptions) -> Iterator[str]:
    """The argument that names the user's own one."""
    if options.memory_limit_bytes is not None:
        yield f"--yourai-max-memory={options.memory_limit_bytes / 1e9:g}"


def _what_may_fit(
    options: OutputOptions, found: StageResults, arguments: Sequence[str]
) -> Iterator[str]:
    """Where nothing fits for lack of memory: what takes less."""
    results, setup = found.results, found.stage.setup
    lacks_memory = any(each.lacks_memory for each in results)
    if not lacks_memory or setup is None:
        if not options.is_replay:
            yield f"Next, once what failed is fixed: {_resumed(options, arguments)}"
        return
    yield "Next: what takes less memory, one or more of"
    configs = [result.config for result in results]
    if not all(config.grad_checkpoint for config in configs):
        yield f"  {_pytest([*arguments, '--yourai-grad-checkpoint'])}"
    if (shortest := min(config.max_seq_length for config in configs)) > _SHORTEST_ROWS:
        others = _without(arguments, "--yourai-seq-length")
        yield f"  {_pytest([*others, f'--yourai-seq-length={shortest // 2}'])}"
    quantization = setup.plan.source.quantization
    if setup.model.foreign_quantization is None and _is_wide(quantization):
        others = _without(arguments, "--yourai-quantize")
        yield f"  {_pytest([*others, f'--yourai-quantize={_FEWEST_BITS}'])}"
    if min(config.batch_size for config in configs) > 1:
        yield "  a --yourai-matrix FILE with a batch_size of 1"
    else:
        yield "  a --yourai-matrix FILE with a smaller lora_rank and lora_layers"
    yield f"Or a smaller model, of those that fit by estimate: {_estimates(options)}"


def _is_wide(quantization: Quantization | None) -> bool:
    return quantization is None or quantization.bits > _FEWEST_BITS


def _resumed(options: OutputOptions, arguments: Sequence[str]) -> str:
    return _pytest(arguments if options.is_resumed else [*arguments, "--yourai-resume"])


def _without(arguments: Sequence[str], *flags: str) -> list[str]:
    """`arguments` without `flags` and their values, which begin with no dash."""
    kept: list[str] = []
    is_value = False
    for argument in arguments:
        name, separator, _ = argument.partition("=")
        if name in flags:
            is_value = not separator and name not in _QUICK
        elif is_value:
            is_value = False
        else:
            kept.append(argument)
    return kept


def _pytest(arguments: Sequence[str]) -> str:
    return shlex.join(["pytest", *arguments])


_NO_MODEL = "MODEL"

_NO_DATA = "FOLDER"


@dataclass(frozen=True)
class TrainingCommand:
    """What a person runs, and what is to be known or filled in first."""

    text: str
    notes: tuple[str, ...]


def training_command(profile: StoredProfile) -> TrainingCommand | None:
    """None where the profile has no optimum to train with."""
    if profile.optimum is None:
        return None
    preset = read_presets(packaged_models()).get(profile.model)
    model = profile.model if preset else _NO_MODEL
    command = ["yourai", "train", "--model", model, "--profile", profile.name]
    is_dry = preset is not None and preset.repo is None
    if is_dry or profile.settings.get("weights") == "synthetic":
        command += ["--weights", "synthetic" if is_dry else "hub"]
    data = profile.settings.get("data")
    if isinstance(data, str) and data:
        command += ["--data", data]
    elif not is_dry:
        command += ["--data", _NO_DATA]
    return TrainingCommand(shlex.join(command), tuple(_notes(profile, command)))


def _notes(profile: StoredProfile, command: list[str]) -> Iterator[str]:
    if _NO_MODEL in command:
        yield f"{_NO_MODEL} is the folder or the owner/name that {profile.model} was read from."
    if _NO_DATA in command:
        yield f"{_NO_DATA} has a train.jsonl; the name of a Hugging Face data set will do as well."
    if "hub" in command:
        yield "It was measured with made-up weights: --weights hub downloads the real ones."
    if "synthetic" in command:
        yield "A dry run: this model has made-up weights alone."

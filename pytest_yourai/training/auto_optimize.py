"""The sweep before training: runs pytest in a subprocess, and reads its profile."""

from __future__ import annotations

import os
import signal
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from pytest_yourai.core.axes import AXIS_BY_NAME
from pytest_yourai.core.config import QuantizeChoice, key_names
from pytest_yourai.core.errors import (
    ModelError,
    OptionError,
    OutputError,
    RecordingError,
    SweepFailedError,
)
from pytest_yourai.core.outcomes import Outcome
from pytest_yourai.core.paths import packaged_models
from pytest_yourai.core.results import TrialResult
from pytest_yourai.core.signals import Interrupts
from pytest_yourai.models.model import Model
from pytest_yourai.plan.config_choice import low_memory_matrix
from pytest_yourai.plan.flags import FLAGS
from pytest_yourai.store.profile_reader import read_profiles
from pytest_yourai.sweep.child_process import (
    FD_VARIABLE,
    PLUGIN_ARGUMENTS,
    command_of_pytest,
    environment_of_pytest,
    shown,
)
from pytest_yourai.training.measured_profile import ChosenConfig, read_profile
from pytest_yourai.training.option_values import TrainValues
from pytest_yourai.training.options import TRAIN_OPTIONS, TrainOptions

PROFILE = "optimal_config.json"
"""The profile in the adapter path."""

_LOG = "benchmark_log.jsonl"

_INTERRUPTED = (2, -signal.SIGINT, -signal.SIGTERM)

_REFUSED = 4

_MEASURED = (0, 1)
"""Statuses of pytest; the last is that of a sweep with a failure, which may have an optimum."""


def sweep(options: TrainOptions, model: Model, print_line: Callable[[str], None]) -> ChosenConfig:
    """Sweep `model`, and choose; the profile and the journal go into the adapter path.

    OptionError if pytest refuses, SweepFailedError if it has no answer for other reasons than
    memory.
    """
    profile = options.adapter_path / PROFILE
    try:
        options.adapter_path.mkdir(parents=True, exist_ok=True)
        before = _state(profile)
    except OSError as problem:
        raise OutputError(
            f"--adapter-path: {options.adapter_path} cannot be written: {problem.strerror}; name "
            "another"
        ) from None
    arguments = list(sweep_arguments(options))
    print_line(shown(arguments))
    status = _run(command_of_pytest([*PLUGIN_ARGUMENTS, *arguments]))
    if status in _INTERRUPTED:
        raise KeyboardInterrupt
    if status == _REFUSED:
        raise OptionError("--auto-optimize: the sweep was refused: fix what it says above")
    if status not in _MEASURED:
        raise SweepFailedError(
            f"the sweep ended with status {status}: see its output, and the log in "
            f"{options.adapter_path / _LOG}"
        )
    if _state(profile) == before:
        raise SweepFailedError(f"the sweep left no profile in {profile}: see its output above")
    return choose(profile, options, model, f"{PROFILE} (just measured)")


def _state(path: Path) -> tuple[int, int] | None:
    """What changes when a file is written anew; None if there is none."""
    try:
        found = path.lstat()
    except FileNotFoundError:
        return None
    return found.st_ino, found.st_mtime_ns


def sweep_arguments(options: TrainOptions) -> Iterator[str]:
    """The arguments of pytest: the options that a sweep has, too, by the same names."""
    shared = {flag.name: flag.option for flag in FLAGS}
    for name, option in TRAIN_OPTIONS.items():
        axis = AXIS_BY_NAME.get(name)
        flag = shared.get(axis.flag if axis else option.flag.removeprefix("--"))
        value = getattr(options, name)
        if flag is None or value is None or value == packaged_models():
            continue
        if value is True:
            yield flag
        elif value is not False:
            yield f"{flag}={option.text(value)}"
    if options.grad_checkpoint is False:
        # A switch has no negation; its ini key has, which a matrix with both needs.
        yield "-oyourai_grad_checkpoint=false"
    yield f"--yourai-output={options.adapter_path / PROFILE}"
    yield f"--yourai-log={options.adapter_path / _LOG}"
    # The project's ini file is for its own tests.
    yield f"--config-file={os.devnull}"
    yield f"--rootdir={Path.cwd()}"


def _run(command: Sequence[str]) -> int:
    """The exit status of the command, which an interrupt of this process interrupts, too.

    The command watches a pipe that only this process can write to, and ends with this process.
    """
    watched, held = os.pipe()
    environment = {**environment_of_pytest(), FD_VARIABLE: str(watched)}
    interrupts = Interrupts()
    interrupts.install()
    try:
        with subprocess.Popen(command, pass_fds=(watched,), env=environment) as process:
            try:
                return process.wait()
            except KeyboardInterrupt:
                process.send_signal(signal.SIGINT)
                process.wait()
                raise
    finally:
        interrupts.remove()
        os.close(watched)
        os.close(held)


def choose(path: Path, options: TrainOptions, model: Model, origin: str) -> ChosenConfig:
    """The answer that `options` pick of the profile that the sweep has written to `path`.

    If nothing fits for lack of memory alone, it is the configuration that needs the least.
    """
    try:
        [swept] = read_profiles(path)
    except RecordingError as problem:
        raise SweepFailedError(f"the sweep left no profile in {path}: {problem}") from None
    results = list(swept.results.values())
    if any(result.success for result in results):
        profile = read_profile(path, model)
        return ChosenConfig.of_profile(profile, options, model, origin, is_of_this_model=True)
    if reason := _other_reason(results):
        raise SweepFailedError(f"the sweep found no configuration to train with: {reason}")
    ranks = options.group.world_size if options.group else 1
    return _frugal(results, swept.settings.lora_keys or (), model, ranks)


def _other_reason(results: Sequence[TrialResult]) -> str | None:
    """The first failure that is not for lack of memory; None without one."""
    failed = [
        each for each in results if each.outcome.is_failure or each.outcome is Outcome.UNAVAILABLE
    ]
    if not failed and not any(each.lacks_memory for each in results):
        failed = list(results)
    return next((f"{each.outcome}: {each.error}" for each in failed), None)


def _frugal(
    results: Sequence[TrialResult], swept_keys: Sequence[str], model: Model, ranks: int
) -> ChosenConfig:
    """The configuration that needs the least; of its LoRA keys the model may lack some."""
    matrix = low_memory_matrix()
    [keys] = matrix.axes["lora_keys"]
    has_keys = set(key_names(keys) or ()) <= set(swept_keys)
    counts = Counter(result.outcome for result in results)
    counted = ", ".join(f"{count} {outcome}" for outcome, count in counts.items())
    first = next(each for each in results if each.lacks_memory)
    why = f"nothing that was swept fits ({counted}; {first.config}: {first.error})"
    return ChosenConfig(
        "fallback: nothing fits",
        TrainValues(
            batch_size=min(matrix.axes["batch_size"]) * ranks,
            rank=min(matrix.axes["rank"]),
            num_layers=min(matrix.axes["num_layers"]),
            grad_checkpoint=True,
            lora_keys=keys if has_keys else first.config.lora_keys,
            quantize=matrix.quantize if _can_be(model, matrix.quantize) else None,
        ),
        warnings=(f"{why}: the configuration that needs the least is tried",),
    )


def _can_be(model: Model, quantize: QuantizeChoice) -> bool:
    """True if the weights of `model` can be held in that quantization."""
    try:
        model.quantization(quantize)
    except ModelError:
        return False
    return True

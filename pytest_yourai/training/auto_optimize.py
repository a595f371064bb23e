"""The sweep before training: pytest in a process of its own, and what it found."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pytest_yourai.core.config import QuantizeChoice
from pytest_yourai.core.errors import (
    ModelError,
    OptionError,
    OutputError,
    RecordingError,
    SweepFailedError,
)
from pytest_yourai.core.files import mapping, read_document
from pytest_yourai.core.paths import packaged_models
from pytest_yourai.core.results import Outcome, TrialResult
from pytest_yourai.core.signals import Interrupts
from pytest_yourai.models.resolve import Model
from pytest_yourai.plan.config_choice import low_memory_matrix
from pytest_yourai.store.rows import result_from_row
from pytest_yourai.sweep.child_process import FD_VARIABLE, PLUGIN_ARGUMENTS, pytest_command, shown
from pytest_yourai.training.choices import ChosenConfig, ValueSource, source_of
from pytest_yourai.training.measured_profile import read_profile
from pytest_yourai.training.settings import TrainOptions

PROFILE = "optimal_config.json"
"""What a sweep writes into the adapter path."""

_LOG = "benchmark_log.jsonl"

_BYTES_PER_GB = 1e9

_PYTEST_OPTIONS = "PYTEST_ADDOPTS"
"""Those of the user's own tests."""

_INTERRUPTED = (2, -signal.SIGINT, -signal.SIGTERM)

_REFUSED = 4

_MEASURED = (0, 1)
"""Statuses of pytest: the last for a sweep in which something failed, which is no hindrance."""


def sweep(
    options: TrainOptions, model: Model, data: str | None, say: Callable[[str], None]
) -> ChosenConfig:
    """Sweep `model`, and decide; the profile and the journal go into the adapter path.

    OptionError where pytest refuses, SweepFailedError where it has no answer for other reasons
    than memory.
    """
    profile = options.adapter_path / PROFILE
    try:
        options.adapter_path.mkdir(parents=True, exist_ok=True)
        profile.unlink(missing_ok=True)
    except OSError as problem:
        raise OutputError(
            f"--adapter-path: {options.adapter_path} cannot be written: {problem.strerror}; name "
            "another"
        ) from None
    arguments = list(sweep_arguments(options, data))
    say(shown(arguments))
    status = _run(pytest_command([*PLUGIN_ARGUMENTS, *arguments]))
    if status in _INTERRUPTED:
        raise KeyboardInterrupt
    if status == _REFUSED:
        raise OptionError("--auto-optimize: the sweep was refused, for the reason above")
    if status not in _MEASURED:
        raise SweepFailedError(
            f"the sweep ended with status {status}: see what it said, and the log in "
            f"{options.adapter_path / _LOG}"
        )
    return decide(profile, model, f"{PROFILE} (just measured)")


def sweep_arguments(options: TrainOptions, data: str | None) -> Iterator[str]:
    """What pytest is called with, for what training is asked for."""
    yield f"--yourai-model={options.model}"
    if options.presets != packaged_models():
        yield f"--yourai-models={options.presets}"
    yield f"--yourai-weights={options.weights}"
    if data is not None:
        yield f"--yourai-data={data}"
    if options.quick:
        yield "--yourai-quick"
    if options.matrix is not None:
        yield f"--yourai-matrix={options.matrix}"
    if options.memory_limit_bytes is not None:
        yield f"--yourai-max-memory={options.memory_limit_bytes / _BYTES_PER_GB!r}"
    if options.max_seq_length is not None:
        yield f"--yourai-seq-length={options.max_seq_length}"
    if options.quantize is not None:
        chosen = options.quantize if options.quantize == "none" else options.quantize.bits
        yield f"--yourai-quantize={chosen}"
    if options.lora_keys is not None:
        yield f"--yourai-lora-keys={','.join(options.lora_keys)}"
    if options.grad_checkpoint is not None:
        # A flag cannot say no; the ini key can, where the matrix has both.
        is_on = options.grad_checkpoint
        yield "--yourai-grad-checkpoint" if is_on else "-oyourai_grad_checkpoint=false"
    if options.force:
        yield "--yourai-force"
    if options.trust_remote_code:
        yield "--yourai-trust-remote-code"
    yield f"--yourai-output={options.adapter_path / PROFILE}"
    yield f"--yourai-log={options.adapter_path / _LOG}"
    # What the project's ini file says is for its own tests.
    yield f"--config-file={os.devnull}"
    yield f"--rootdir={Path.cwd()}"


def _run(command: Sequence[str]) -> int:
    """The exit status; whatever interrupts this process interrupts the command, and is awaited.

    The command ends with this process, however that ends.
    """
    interrupts = Interrupts()
    interrupts.install()
    try:
        with _tethered(command) as process:
            try:
                return process.wait()
            except KeyboardInterrupt:
                process.send_signal(signal.SIGINT)
                process.wait()
                raise
    finally:
        interrupts.remove()


@contextlib.contextmanager
def _tethered(command: Sequence[str]) -> Iterator[subprocess.Popen[bytes]]:
    """Runs `command` with the reading end of a pipe, of which only this process has the other."""
    environment = {name: value for name, value in os.environ.items() if name != _PYTEST_OPTIONS}
    watched, held = os.pipe()
    try:
        environment[FD_VARIABLE] = str(watched)
        with subprocess.Popen(command, pass_fds=(watched,), env=environment) as process:
            yield process
    finally:
        os.close(watched)
        os.close(held)


def decide(path: Path, model: Model, origin: str) -> ChosenConfig:
    """What the profile in `path` decides, which a sweep before this training has written.

    Where nothing fits, for lack of memory alone, that is the most frugal configuration.
    """
    try:
        document = read_document(path)
        results = [result_from_row(row, model.name, 0) for row in document["all_results"]]
    except (RecordingError, KeyError, TypeError, ValueError) as problem:
        raise SweepFailedError(f"the sweep left no profile in {path}: {problem}") from None
    if any(result.success for result in results):
        profile = read_profile(path, model)
        voice = source_of(profile, origin, is_of_this_model=True)
        return ChosenConfig(voice, profile)
    if reason := _other_reason(results):
        raise SweepFailedError(f"the sweep found no configuration to train with: {reason}")
    return _frugal(results, mapping(document.get("settings")), model)


def _other_reason(results: Sequence[TrialResult]) -> str | None:
    """Why nothing was measured to its end, where that was not for lack of memory."""
    failed = [each for each in results if _is_other_failure(each)]
    if not failed and not any(each.lacks_memory for each in results):
        failed = list(results)
    return next((f"{each.outcome}: {each.error}" for each in failed), None)


def _is_other_failure(result: TrialResult) -> bool:
    return result.outcome.is_failure or result.outcome is Outcome.UNAVAILABLE


def _frugal(
    results: Sequence[TrialResult], settings: Mapping[str, Any], model: Model
) -> ChosenConfig:
    matrix = low_memory_matrix()
    has_keys = set(matrix.lora_keys or ()) <= set(settings.get("lora_keys") or ())
    counts = Counter(result.outcome for result in results)
    counted = ", ".join(f"{count} {outcome}" for outcome, count in counts.items())
    first = next(each for each in results if each.lacks_memory)
    why = f"nothing that was swept fits ({counted}; {first.config}: {first.error})"
    return ChosenConfig(
        ValueSource(
            "fallback: nothing fits",
            {
                "batch_size": min(matrix.batch_size),
                "rank": min(matrix.lora_rank),
                "num_layers": min(matrix.lora_layers),
                "grad_checkpoint": True,
                "lora_keys": matrix.lora_keys if has_keys else None,
                "quantize": matrix.quantize if _can_be(model, matrix.quantize) else None,
            },
        ),
        warnings=(f"{why}: the most frugal configuration is tried",),
    )


def _can_be(model: Model, quantize: QuantizeChoice) -> bool:
    """True if the weights of `model` can be held in that quantization."""
    try:
        model.quantization(quantize)
    except ModelError:
        return False
    return True

"""From options and a model to the plan of its sweep: which configurations, under which ids."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_yourai import config as defaults
from pytest_yourai.calibration import Calibration
from pytest_yourai.config import LoraConfig, Quantization, QuantizeChoice, StepPlan
from pytest_yourai.engine.protocol import ModelSource
from pytest_yourai.errors import MatrixError, OptionError
from pytest_yourai.identity import machine_id, run_identity
from pytest_yourai.matrix import Matrix, read_matrix
from pytest_yourai.models import Model
from pytest_yourai.paths import matrices_folder
from pytest_yourai.prediction import Predictor
from pytest_yourai.preflight import predictor_of
from pytest_yourai.recording import PEAKS_STAND_IN, Recording, backend_of
from pytest_yourai.search import lightest_first
from pytest_yourai.store import environment
from pytest_yourai.store.calibrations import read_calibration, write_calibration
from pytest_yourai.store.history import History, read_history
from pytest_yourai.sweep_plan import Check, SweepPlan

if TYPE_CHECKING:
    from pytest_yourai.options import Options

_MOST_SEARCHED = 1000
"""A choice among so many takes 0.2 s and 70 MB, and grows with their square."""

_LONGEST_MEMORY_WAIT_S = 5.0

_START_TIMEOUT_S = 120.0
"""Least limit for a worker to say hello, and to look at the model."""


@dataclass(frozen=True)
class Usual:
    """A model's defaults: what an id need not say."""

    max_seq_length: int
    quantization: Quantization | None

    def suffix(self, rows: LoraConfig | Check, plan: SweepPlan) -> str:
        """What of `rows` and `plan` differs from the defaults."""
        quantization = plan.source.quantization
        parts = []
        if rows.max_seq_length != self.max_seq_length:
            parts.append(f"-seq{rows.max_seq_length}")
        if quantization != self.quantization:
            parts.append(f"-q{quantization.bits}" if quantization else "-qnone")
        if rows.grad_checkpoint:
            parts.append("-ckpt")
        return "".join(parts)


@dataclass(frozen=True)
class SweepSetup:
    """All that is known before anything runs. `notes` are lines for the console's header."""

    options: Options
    model: Model
    plan: SweepPlan
    usual: Usual
    notes: tuple[str, ...]

    @cached_property
    def configs_by_id(self) -> Mapping[str, LoraConfig | None]:
        """Item id → configuration, in the order of the run; of a check None, not yet known."""
        if self.plan.check is not None:
            return {f"{self.model.name}{self.usual.suffix(self.plan.check, self.plan)}": None}
        return {
            f"{self.model.name}-batch{config.batch_size}-rank{config.rank}"
            f"-layers{config.num_layers}{self.usual.suffix(config, self.plan)}": config
            for config in self.plan.configs
        }

    def history(self) -> History | None:
        """What the journal says of earlier runs, where it is asked for."""
        return read_history(self.options.log) if self.options.resume else None

    def prior(self) -> Calibration:
        """What this machine's estimates were off by before."""
        if self.plan.recording is not None:
            return Calibration()
        return read_calibration(machine_id())

    def predictor(self) -> Predictor:
        """Predicts without a worker: for the backend that is installed, or that was recorded."""
        recording = self.plan.recording
        backend = (
            backend_of(recording.environment) if recording else environment.installed_backend()
        )
        return predictor_of(self.plan, self.prior(), backend)

    @property
    def weight_bytes(self) -> int | None:
        """Of the base model in memory, by arithmetic; None where its architecture is unknown."""
        found = self.predictor().predict(LoraConfig(1, 1, 1, max_seq_length=2))
        return found.weights_bytes if found else None

    @property
    def known_limit_bytes(self) -> int | None:
        """The budget that the user or the recording names; a machine's takes a worker to tell."""
        recorded = self.plan.recording.memory_limit_bytes if self.plan.recording else None
        return self.options.memory_limit_bytes or recorded

    def remember(self, calibration: Calibration | None) -> None:
        """Keep what was learned for this machine's next model."""
        if calibration is not None and self.plan.recording is None:
            write_calibration(machine_id(), calibration.for_the_next_model())

    @property
    def weights(self) -> str:
        """`synthetic 4-bit`, `local, not quantized`: what kind of weights are measured."""
        how = self.plan.source.quantization or self.model.foreign_quantization
        return f"{self.model.weights} {how}" if how else f"{self.model.weights}, not quantized"


def make_setup(
    options: Options, model: Model, recording: Recording | None = None, *, is_check: bool = False
) -> SweepSetup:
    """An InputError where the options do not lead to a sweep of `model`.

    A check has no configurations: which one is safe turns out when its budget is known.
    """
    if recording is not None and not (options.quick or options.matrix):
        _check_length(options, recording)
    if options.data is not None and model.folder is None and model.weights != "hub":
        raise OptionError(
            f"--yourai-data: {model.name} has no tokenizer: name a model folder that has one"
        )
    path = _matrix_path(options, model)
    matrix = None if path is None else read_matrix(path)
    choices = _choices(options, matrix, recording)
    source = ModelSource(
        name=model.name,
        architecture=model.architecture,
        folder=str(model.folder) if model.folder else None,
        synthetic=model.weights == "synthetic",
        quantization=model.quantization(choices.quantize),
        lora_keys=choices.lora_keys,
        trust_remote_code=options.trust_remote_code,
    )
    usual = Usual(model.usual_max_seq_length, model.quantization(None))
    max_seq_length = choices.max_seq_length or usual.max_seq_length
    configs: tuple[LoraConfig, ...] = ()
    if not is_check:
        configs = _configs(matrix, recording, model, max_seq_length, choices.grad_checkpoint)
    if options.search == "fast" and len(configs) > _MOST_SEARCHED:
        raise OptionError(
            f"--yourai-search fast: {len(configs):,} configurations are more than "
            f"{_MOST_SEARCHED:,}: shorten the matrix, or run them all"
        )
    steps = options.check_steps if is_check else options.steps
    settings = _settings(
        options, source, steps, path, max_seq_length, choices.grad_checkpoint, recording
    )
    return SweepSetup(
        options=options,
        model=model,
        plan=SweepPlan(
            source=source,
            configs=configs,
            steps=steps,
            isolation=options.isolation,
            data=options.data,
            seed=defaults.SEED,
            memory_limit_bytes=options.memory_limit_bytes,
            start_timeout_s=max(options.timeout_s, _START_TIMEOUT_S),
            settings=settings,
            identity=run_identity(source, options.data, settings),
            force=options.force,
            memory_wait_s=min(_LONGEST_MEMORY_WAIT_S, (options.timeout_s or math.inf) / 4),
            search="exhaustive" if is_check else options.search,
            objective=options.objective,
            depth=model.depth,
            recording=recording,
            check=Check(model.parameters, max_seq_length, choices.grad_checkpoint)
            if is_check
            else None,
        ),
        usual=usual,
        notes=tuple(_notes(matrix, model, recording)),
    )


def _check_length(options: Options, recording: Recording) -> None:
    recorded = recording.max_seq_length
    if options.max_seq_length not in (None, recorded):
        raise OptionError(
            f"--yourai-seq-length: {recording.name} was recorded at "
            f"{recorded or 'several lengths'}: leave it out"
        )


@dataclass(frozen=True)
class _Choices:
    """What flags, matrix and recording say together: the first of them that says it."""

    quantize: QuantizeChoice
    lora_keys: tuple[str, ...] | None
    max_seq_length: int | None
    grad_checkpoint: bool


def _choices(options: Options, matrix: Matrix | None, recording: Recording | None) -> _Choices:
    quantize, keys = options.quantize, options.lora_keys
    length, checkpoint = options.max_seq_length, options.grad_checkpoint
    if matrix is not None:
        quantize = quantize if quantize is not None else matrix.quantize
        keys = keys or matrix.lora_keys
        length = length or matrix.max_seq_length
        checkpoint = checkpoint if checkpoint is not None else matrix.grad_checkpoint
    if recording is not None:
        quantize = quantize if quantize is not None else recording.quantize
        keys = keys or recording.lora_keys
        length = length or recording.max_seq_length
    return _Choices(quantize, keys, length, checkpoint or False)


def _configs(
    matrix: Matrix | None,
    recording: Recording | None,
    model: Model,
    max_seq_length: int,
    checkpoint: bool,
) -> tuple[LoraConfig, ...]:
    """Of the matrix; where none is named, what was recorded."""
    if matrix is None:
        return tuple(lightest_first(recording.results if recording else ()))
    return tuple(
        matrix.configs(max_seq_length=max_seq_length, grad_checkpoint=checkpoint, depth=model.depth)
    )


def _matrix_path(options: Options, model: Model) -> Path | None:
    if options.matrix is not None:
        if options.quick:
            raise MatrixError("--quick and --yourai-matrix both name a matrix: leave one out")
        return options.matrix
    if options.quick:
        name = (model.preset and model.preset.quick_matrix) or "quick"
        return matrices_folder() / f"{name}.yaml"
    return None if options.replay else matrices_folder() / "full.yaml"


def _notes(matrix: Matrix | None, model: Model, recording: Recording | None) -> Iterator[str]:
    if model.note is not None:
        yield model.note
    over = matrix.layers_over(model.depth) if matrix else []
    if over:
        numbers = ", ".join(map(str, over))
        yield f"{model.title} has {model.depth} layers: {numbers} became {model.depth}"
    if recording is not None:
        yield f"nothing is run: measurements are those of {recording.name}"
        if not recording.has_minima:
            yield f"{recording.name} has no minimum memory: its peaks stand in for it"


def _settings(
    options: Options,
    source: ModelSource,
    steps: StepPlan,
    matrix: Path | None,
    max_seq_length: int,
    checkpoint: bool,
    recording: Recording | None,
) -> dict[str, Any]:
    quantization = source.quantization
    return {
        "weights": "synthetic" if source.synthetic else "local",
        "quantization": quantization
        and {
            "bits": quantization.bits,
            "group_size": quantization.group_size,
            "mode": quantization.mode,
        },
        "lora_keys": source.lora_keys and list(source.lora_keys),
        "lora_scale": defaults.LORA_SCALE,
        "lora_dropout": defaults.LORA_DROPOUT,
        "optimizer": defaults.OPTIMIZER,
        "learning_rate": defaults.LEARNING_RATE,
        "seed": defaults.SEED,
        "matrix": matrix.name if matrix else None,
        "search": options.search,
        "replay": recording and recording.name,
        PEAKS_STAND_IN: recording is not None and not recording.has_minima,
        "max_seq_length": max_seq_length,
        "grad_checkpoint": checkpoint,
        "data": options.data,
        "measured_steps": steps.measured_steps,
        "warmup_steps": steps.warmup_steps,
        "safety_margin": defaults.SAFETY_MARGIN,
        "isolation": options.isolation,
        "timeout_s": options.timeout_s,
    }

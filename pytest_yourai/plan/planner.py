"""From options and a model to the plan of its sweep: which configurations, under which ids."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from pytest_yourai.core import config as defaults
from pytest_yourai.core.conditions import SweepSettings
from pytest_yourai.core.config import LoraConfig, Quantization, QuantizeChoice, StepPlan
from pytest_yourai.core.errors import OptionError
from pytest_yourai.estimate.calibration import Calibration, read_calibration, write_calibration
from pytest_yourai.estimate.predictor import Predictor
from pytest_yourai.machine import environment
from pytest_yourai.models.conversion import quantized_on_load
from pytest_yourai.models.resolve import Model
from pytest_yourai.models.source import ModelSource
from pytest_yourai.plan.identity import machine_id, run_identity
from pytest_yourai.plan.matrix import Matrix, MatrixChoice, choose_matrix
from pytest_yourai.plan.options import Options
from pytest_yourai.plan.sweep_plan import SafeCheck, SweepPlan, predictor_of
from pytest_yourai.store.history import History, read_history
from pytest_yourai.store.recording import (
    backend_of,
    recorded_checkpointing,
    recorded_configs,
    recorded_lengths,
)
from pytest_yourai.store.stored_profile import StoredProfile

_MOST_SEARCHED = 1000
"""A choice among so many takes 0.2 s and 70 MB, and grows with their square."""

_LONGEST_MEMORY_WAIT_S = 5.0

_START_TIMEOUT_S = 120.0
"""Least limit for a worker to say hello, and to look at the model."""


@dataclass(frozen=True)
class ModelDefaults:
    """A model's defaults: what an id need not say."""

    max_seq_length: int
    quantization: Quantization | None

    def suffix(self, rows: LoraConfig, quantization: Quantization | None) -> str:
        """What of `rows` and `quantization` differs from the defaults."""
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
    chosen: MatrixChoice
    usual: ModelDefaults
    notes: tuple[str, ...]

    @cached_property
    def configs_by_id(self) -> Mapping[str, LoraConfig | None]:
        """Item id → configuration, in the order of the run; of a check None, not yet known."""
        quantization = self.plan.source.quantization
        if self.plan.check is not None:
            suffix = self.usual.suffix(self.plan.check.rows, quantization)
            return {f"{self.model.name}{suffix}": None}
        return {
            f"{self.model.name}-batch{config.batch_size}-rank{config.rank}"
            f"-layers{config.num_layers}{self.usual.suffix(config, quantization)}": config
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
    def quantized_on_load(self) -> Quantization | None:
        """What weights are measured in and not stored in."""
        return quantized_on_load(self.model.architecture, self.plan.source.quantization)

    @property
    def weights(self) -> str:
        """`synthetic 4-bit`, `local, not quantized`: what kind of weights are measured."""
        how = self.plan.source.quantization or self.model.foreign_quantization
        return f"{self.model.weights} {how}" if how else f"{self.model.weights}, not quantized"


def make_setup(
    options: Options,
    model: Model,
    recording: StoredProfile | None = None,
    *,
    is_check: bool = False,
    chosen: MatrixChoice | None = None,
) -> SweepSetup:
    """An InputError where the options do not lead to a sweep of `model`.

    A check has no configurations: which one is safe turns out when its budget is known. `chosen`
    is the matrix that was chosen before, None where none was.
    """
    if options.data is not None:
        model.require_tokenizer()
    if chosen is not None:
        chosen = chosen.again(model)
    else:
        wants_matrix = options.optimize or not is_check
        chosen = choose_matrix(options, model) if wants_matrix else MatrixChoice(None)
    matrix = chosen.matrix
    choices = _choices(options, matrix, recording)
    source = _source(options, model, choices)
    if is_check:
        lengths = choices.max_seq_lengths or (model.usual_max_seq_length,)
        configs: tuple[LoraConfig, ...] = (
            checked_rows(options, lengths, choices.grad_checkpoints),
        )
    else:
        configs = _configs(options, matrix, recording, model, choices)
    if options.search == "fast" and len(configs) > _MOST_SEARCHED:
        raise OptionError(
            f"--yourai-search fast: {len(configs):,} configurations are more than "
            f"{_MOST_SEARCHED:,}: shorten the matrix, or run them all"
        )
    steps = options.check_steps if is_check else options.steps
    plan = _plan(
        options, model, source, steps, _settings(options, source, steps, matrix, configs, recording)
    )
    if is_check:
        check = SafeCheck(model.parameters, configs[0])
        plan = dataclasses.replace(plan, check=check, search="exhaustive")
    else:
        plan = dataclasses.replace(plan, configs=configs, recording=recording)
    return SweepSetup(
        options=options,
        model=model,
        plan=plan,
        chosen=chosen,
        usual=ModelDefaults(model.usual_max_seq_length, model.quantization(None)),
        notes=tuple(_notes(matrix, model, recording, chosen.note(source, model))),
    )


def _source(options: Options, model: Model, choices: _Choices) -> ModelSource:
    return ModelSource(
        name=model.name,
        architecture=model.architecture,
        folder=str(model.folder) if model.folder else None,
        synthetic=model.weights == "synthetic",
        quantization=model.quantization(choices.quantize),
        lora_keys=choices.lora_keys,
        trust_remote_code=options.trust_remote_code,
    )


def _plan(
    options: Options, model: Model, source: ModelSource, steps: StepPlan, settings: SweepSettings
) -> SweepPlan:
    """Without what is to be tried."""
    return SweepPlan(
        source=source,
        configs=(),
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
        search=options.search,
        objective=options.objective,
        depth=model.depth,
    )


@dataclass(frozen=True)
class _Choices:
    """What flags, matrix and recording say together: the first of them that says it."""

    quantize: QuantizeChoice
    lora_keys: tuple[str, ...] | None
    max_seq_lengths: tuple[int, ...] | None
    grad_checkpoints: tuple[bool, ...]


def _choices(options: Options, matrix: Matrix | None, recording: StoredProfile | None) -> _Choices:
    quantize, keys = options.quantize, options.lora_keys
    lengths = options.max_seq_lengths
    checkpoints: tuple[bool, ...] | None = None
    if options.grad_checkpoint is not None:
        checkpoints = (options.grad_checkpoint,)
    if matrix is not None:
        quantize = quantize if quantize is not None else matrix.quantize
        keys = keys or matrix.lora_keys
        lengths = lengths or matrix.max_seq_length
        checkpoints = checkpoints or matrix.grad_checkpoint
    if recording is not None:
        quantize = quantize if quantize is not None else recording.settings.quantization
        keys = keys or recording.settings.lora_keys
        lengths = lengths or recorded_lengths(recording)
        checkpoints = checkpoints or recorded_checkpointing(recording)
    return _Choices(quantize, keys, lengths, checkpoints or (False,))


def checked_rows(
    options: Options, max_seq_lengths: Collection[int], grad_checkpoints: Collection[bool]
) -> LoraConfig:
    """Of what was asked for, the rows of a check; batch, rank and layers are still to be chosen.

    The longest, so that a pass holds for all; before a sweep, which tries the rest, the shortest.
    """
    length = min(max_seq_lengths) if options.optimize else max(max_seq_lengths)
    return LoraConfig(1, 1, 1, length, grad_checkpoint=all(grad_checkpoints))


def _configs(
    options: Options,
    matrix: Matrix | None,
    recording: StoredProfile | None,
    model: Model,
    choices: _Choices,
) -> tuple[LoraConfig, ...]:
    """Of the matrix; where none is named, what was recorded."""
    if matrix is not None:
        return tuple(
            matrix.configs(
                max_seq_lengths=choices.max_seq_lengths or (model.usual_max_seq_length,),
                grad_checkpoints=choices.grad_checkpoints,
                depth=model.depth,
            )
        )
    return (
        tuple(recorded_configs(recording, options.max_seq_lengths, options.grad_checkpoint))
        if recording is not None
        else ()
    )


def _notes(
    matrix: Matrix | None, model: Model, recording: StoredProfile | None, choice: str | None
) -> Iterator[str]:
    if model.note is not None:
        yield model.note
    if choice is not None:
        yield choice
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
    matrix: Matrix | None,
    configs: Sequence[LoraConfig],
    recording: StoredProfile | None,
) -> SweepSettings:
    """The settings in the profile; lengths and checkpointing as lists where they are axes."""
    lengths = sorted({config.max_seq_length for config in configs})
    checkpoints = sorted({config.grad_checkpoint for config in configs})
    return SweepSettings(
        weights="synthetic" if source.synthetic else "local",
        quantization=source.quantization or "none",
        lora_keys=source.lora_keys or None,
        lora_scale=defaults.LORA_SCALE,
        lora_dropout=defaults.LORA_DROPOUT,
        optimizer=defaults.OPTIMIZER,
        learning_rate=defaults.LEARNING_RATE,
        seed=defaults.SEED,
        matrix=matrix.source.name if matrix else None,
        search=options.search,
        replay=recording.name if recording else None,
        peaks_stand_in_for_minima=recording is not None and not recording.has_minima,
        max_seq_length=lengths[0] if len(lengths) == 1 else lengths,
        grad_checkpoint=checkpoints[0] if len(checkpoints) == 1 else checkpoints,
        data=options.data,
        measured_steps=steps.measured_steps,
        warmup_steps=steps.warmup_steps,
        safety_margin=defaults.SAFETY_MARGIN,
        isolation=options.isolation,
        timeout_s=options.timeout_s,
    )

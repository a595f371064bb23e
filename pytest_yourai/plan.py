"""From options to the plan of a sweep: which model, which configurations, under which ids."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_yourai import config as defaults
from pytest_yourai.config import LoraConfig, Quantization
from pytest_yourai.engine.protocol import ModelSource
from pytest_yourai.errors import MatrixError, OptionError
from pytest_yourai.matrix import Matrix, read_matrix
from pytest_yourai.memory.system import read_system_memory
from pytest_yourai.models import Model, read_presets, resolve
from pytest_yourai.paths import matrices_folder
from pytest_yourai.store import environment
from pytest_yourai.store.clean import clean
from pytest_yourai.store.history import History, read_history
from pytest_yourai.sweep_plan import SweepPlan

if TYPE_CHECKING:
    from pytest_yourai.options import Options

DEFAULT_MAX_SEQ_LENGTH = 512

_LONGEST_MEMORY_WAIT_S = 5.0

_START_TIMEOUT_S = 120.0
"""Least limit for a worker to say hello, and to look at the model."""


@dataclass(frozen=True)
class SweepSetup:
    """All that is known before anything runs. `notes` are lines for the console's header."""

    options: Options
    model: Model
    plan: SweepPlan
    id_suffix: str
    notes: tuple[str, ...]

    @cached_property
    def configs_by_id(self) -> Mapping[str, LoraConfig]:
        """Item id → configuration, in the order of the run."""
        return {
            f"{self.model.name}-batch{config.batch_size}-rank{config.rank}"
            f"-layers{config.num_layers}{self.id_suffix}": config
            for config in self.plan.configs
        }

    def history(self) -> History | None:
        """What the journal says of earlier runs, where it is asked for."""
        return read_history(self.options.log) if self.options.resume else None

    @property
    def weights(self) -> str:
        """`synthetic 4-bit`, `local, not quantized`: what kind of weights are measured."""
        how = self.plan.source.quantization or self.model.foreign_quantization
        return f"{self.model.weights} {how}" if how else f"{self.model.weights}, not quantized"


def make_setup(options: Options) -> SweepSetup:
    """An InputError where the options do not lead to a sweep."""
    presets = read_presets(matrices_folder() / "models.yaml")
    model = resolve(options.model, options.model_folder, options.weights, presets)
    if options.output.resolve() == options.log.resolve():
        raise OptionError("--yourai-output and --yourai-log are one file: name two")
    if options.data is not None and model.folder is None:
        raise OptionError(
            f"--yourai-data: {model.name} has no tokenizer: name a model folder that has one"
        )
    matrix = read_matrix(_matrix_path(options, model))
    quantize = options.quantize if options.quantize is not None else matrix.quantize
    source = ModelSource(
        name=model.name,
        architecture=model.architecture,
        folder=str(model.folder) if model.folder else None,
        synthetic=model.weights == "synthetic",
        quantization=model.quantization(quantize),
        lora_keys=options.lora_keys or matrix.lora_keys,
        trust_remote_code=options.trust_remote_code,
    )
    usual_length = (model.preset and model.preset.max_seq_length) or DEFAULT_MAX_SEQ_LENGTH
    max_seq_length = options.max_seq_length or matrix.max_seq_length or usual_length
    checkpoint = options.grad_checkpoint
    if checkpoint is None:
        checkpoint = matrix.grad_checkpoint or False
    configs = matrix.configs(
        max_seq_length=max_seq_length, grad_checkpoint=checkpoint, depth=model.depth
    )
    settings = _settings(options, source, matrix, max_seq_length, checkpoint)
    return SweepSetup(
        options=options,
        model=model,
        plan=SweepPlan(
            source=source,
            configs=tuple(configs),
            steps=options.steps,
            isolation=options.isolation,
            data=options.data,
            seed=defaults.SEED,
            memory_limit_bytes=options.memory_limit_bytes,
            start_timeout_s=max(options.timeout_s, _START_TIMEOUT_S),
            settings=settings,
            identity=_identity(source, options.data, settings),
            force=options.force,
            memory_wait_s=min(_LONGEST_MEMORY_WAIT_S, (options.timeout_s or math.inf) / 4),
        ),
        id_suffix=_id_suffix(
            max_seq_length if max_seq_length != usual_length else None,
            source.quantization,
            model.quantization(None),
            checkpoint,
        ),
        notes=tuple(_notes(matrix, model)),
    )


def _matrix_path(options: Options, model: Model) -> Path:
    if options.matrix is not None:
        if options.quick:
            raise MatrixError("--quick and --yourai-matrix both name a matrix: leave one out")
        return options.matrix
    if not options.quick:
        return matrices_folder() / "full.yaml"
    name = (model.preset and model.preset.quick_matrix) or "quick"
    return matrices_folder() / f"{name}.yaml"


def _notes(matrix: Matrix, model: Model) -> list[str]:
    over = matrix.layers_over(model.depth)
    if not over:
        return []
    numbers = ", ".join(map(str, over))
    return [f"{model.title} has {model.depth} layers: {numbers} became {model.depth}"]


def _id_suffix(
    max_seq_length: int | None,
    quantization: Quantization | None,
    usual_quantization: Quantization | None,
    checkpoint: bool,
) -> str:
    parts = []
    if max_seq_length is not None:
        parts.append(f"-seq{max_seq_length}")
    if quantization != usual_quantization:
        parts.append(f"-q{quantization.bits}" if quantization else "-qnone")
    if checkpoint:
        parts.append("-ckpt")
    return "".join(parts)


def _settings(
    options: Options, source: ModelSource, matrix: Matrix, max_seq_length: int, checkpoint: bool
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
        "matrix": matrix.source.name,
        "max_seq_length": max_seq_length,
        "grad_checkpoint": checkpoint,
        "data": options.data,
        "measured_steps": options.steps.measured_steps,
        "warmup_steps": options.steps.warmup_steps,
        "safety_margin": defaults.SAFETY_MARGIN,
        "isolation": options.isolation,
        "timeout_s": options.timeout_s,
    }


_NOT_MEASURED = ("matrix", "isolation", "timeout_s")
"""Settings that leave each trial's measurement as it is."""


def _identity(source: ModelSource, data: str | None, settings: dict[str, Any]) -> dict[str, Any]:
    """What two runs must have in common for one to take over the other's measurements."""
    identity = {
        "model": source.name,
        "architecture": _digest(source.architecture),
        "folder": _files(source.folder, "*.safetensors", "*.py", "*token*"),
        "trust_remote_code": source.trust_remote_code,
        "data": _files(data, "train.jsonl"),
        "settings": {key: settings[key] for key in settings if key not in _NOT_MEASURED},
        "versions": environment.versions(),
        "chip": environment.chip(),
        "system_memory_bytes": read_system_memory().usable_bytes,
    }
    known: dict[str, Any] = clean(identity)
    return known


def _files(folder: str | None, *patterns: str) -> str | None:
    """A digest of names, sizes and times: weights are too large to be read for this."""
    if folder is None:
        return None
    files = sorted(file for pattern in patterns for file in Path(folder).glob(pattern))
    facts = [(file.name, file.stat()) for file in files]
    return _digest([(name, stat.st_size, stat.st_mtime_ns) for name, stat in facts])


def _digest(value: Any) -> str:
    text = json.dumps(value, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]

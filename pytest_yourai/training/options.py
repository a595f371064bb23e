"""The options of `yourai train`: one table that flags, help, docs, checkpoints and sweeps share.

Light to import, because `yourai --help` reads it.
"""

# ruff: noqa: RUF009 - these calls make fields

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pytest_yourai.core.answers import Pick
from pytest_yourai.core.axes import (
    BATCH_SIZE,
    DROPOUT,
    FINE_TUNE_TYPE,
    GRAD_ACCUMULATION_STEPS,
    GRAD_CHECKPOINT,
    LORA_KEYS,
    MAX_SEQ_LENGTH,
    NUM_LAYERS,
    OPTIMIZER,
    RANK,
)
from pytest_yourai.core.config import (
    ALL_KEYS,
    ALL_LAYERS,
    FineTuneType,
    Optimizer,
    QuantizeChoice,
    parse_quantize,
)
from pytest_yourai.core.parsing import (
    data_source,
    memory_bytes,
    one_of,
    positive,
)
from pytest_yourai.core.paths import given_path, packaged_models
from pytest_yourai.core.recipe import MLX_LM_DEFAULTS
from pytest_yourai.core.units import GB
from pytest_yourai.training.option_fields import TrainOption, axis_option, count, option, switch

_MAX_SEED = 2**32 - 1
"""The largest seed that NumPy accepts."""

_MAX_LEARNING_RATE = 10

_MAX_GRAD_NORM = 1e6

_MOST_SECONDS = 1e8


def _model_name(text: str) -> str:
    given_path(text, Path.cwd())
    return text


def _path(text: str) -> Path:
    return given_path(text, Path.cwd())


@dataclass(frozen=True, kw_only=True)
class TrainValues:
    """The options that a flag, a checkpoint, a profile or a default may decide; None: undecided.

    `max_seq_length` is in tokens. Names and defaults are mlx-lm's (mlx_lm.lora.CONFIG_DEFAULTS),
    where it has them. Checkpoints have each of them, under its name.
    """

    data: str | None = option(
        "--data",
        "training data as mlx-lm reads it",
        metavar="PATH",
        default_help="none; required unless weights are synthetic",
        parse=lambda text: data_source(text, Path.cwd()),
        must_agree=True,
    )
    batch_size: int | None = axis_option(
        BATCH_SIZE, aliases=("--batch",), default=4, bounds={"ge": 1}
    )
    rank: int | None = axis_option(
        RANK, flag="--lora-rank", aliases=("--rank",), default=8, bounds={"ge": 0}
    )
    num_layers: int | None = axis_option(
        NUM_LAYERS,
        flag="--lora-layers",
        aliases=("--num-layers", "--layers"),
        default=16,
        bounds={"ge": ALL_LAYERS},
    )
    max_seq_length: int | None = axis_option(
        MAX_SEQ_LENGTH,
        aliases=("--max-seq-length",),
        default_help="512 (tiny: 64); 2048 with --config",
        bounds={"ge": 2},
    )
    grad_checkpoint: bool | None = axis_option(
        GRAD_CHECKPOINT, default=False, has_negation=True, must_agree=False
    )
    fine_tune_type: FineTuneType | None = axis_option(FINE_TUNE_TYPE, default=FineTuneType.LORA)
    optimizer: Optimizer | None = axis_option(OPTIMIZER, default=Optimizer.ADAM)
    lora_keys: str | None = axis_option(LORA_KEYS, aliases=("--keys",), default=ALL_KEYS)
    dropout: float | None = axis_option(DROPOUT, default=0.0)
    grad_accumulation_steps: int | None = axis_option(
        GRAD_ACCUMULATION_STEPS, default=1, bounds={"ge": 1}
    )
    quantize: QuantizeChoice = option(
        "--quantize",
        "quantization of the base model",
        metavar="BITS|none",
        default_help="that of local weights; for synthetic presets 4 (tiny: none)",
        parse=parse_quantize,
        text=lambda choice: choice if choice == "none" else str(choice.bits),
        must_agree=True,
    )
    learning_rate: float | None = option(
        "--learning-rate",
        "learning rate",
        bounds={"gt": 0},
        metavar="X",
        default=MLX_LM_DEFAULTS.learning_rate,
        parse=positive(_MAX_LEARNING_RATE),
        must_agree=True,
    )
    max_steps: int | None = count(
        "--max-steps",
        "total steps, including those before a resume",
        aliases=("--iters",),
        default=1000,
    )
    seed: int | None = count(
        "--seed",
        "seed of adapters, dropout and data order",
        least=0,
        most=_MAX_SEED,
        default=MLX_LM_DEFAULTS.seed,
        must_agree=True,
    )
    mask_prompt: bool | None = option(
        "--mask-prompt", "no loss for prompts", default=False, must_agree=True
    )
    bad_rows: Literal["refuse", "skip"] | None = option(
        "--bad-rows",
        "rows that cannot be trained on: refuse the data, or leave them out",
        metavar="refuse|skip",
        default="refuse",
        parse=one_of("refuse", "skip"),
    )
    memory_limit_bytes: int | None = option(
        "--max-memory",
        "memory budget in GB (1e9 bytes)",
        aliases=("--memory",),
        metavar="GB",
        default_help="that of the profile, if measured here, else detected",
        parse=memory_bytes,
        text=lambda value: repr(value / GB),
    )
    save_every: int | None = count("--save-every", "steps between checkpoints", default=100)
    reload_interval: int | None = count(
        "--reload-interval",
        "steps after which a new process continues",
        default_help="when memory requires it",
    )
    memory_report_interval: int | None = count(
        "--memory-report-interval",
        "steps between memory reports",
        aliases=("--steps-per-report",),
        default=10,
    )
    steps_per_eval: int | None = count("--steps-per-eval", "steps between validations", default=200)
    val_batches: int | None = count(
        "--val-batches",
        "batches of a validation; -1 for all, 0 for none",
        least=-1,
        default=25,
    )
    keep: Literal["best", "last", "both"] | None = option(
        "--keep",
        "adapters to keep: those of the lowest validation loss, of the last step, or both",
        metavar="best|last|both",
        default="both",
        parse=one_of("best", "last", "both"),
        must_agree=True,
    )
    patience: int | None = count(
        "--patience",
        "validations in a row without a lower loss that end training; 0 for never",
        least=0,
        default=0,
    )
    max_grad_norm: float | None = option(
        "--max-grad-norm",
        "clip the gradients of an update to this global norm",
        bounds={"gt": 0},
        metavar="X",
        default_help="no clipping",
        parse=positive(_MAX_GRAD_NORM),
        must_agree=True,
    )
    max_skipped_batches: int | None = count(
        "--max-skipped-batches",
        "batches with a loss that is not finite to skip before training ends; 0 for none",
        least=0,
        default=10,
    )
    report_to: str | None = option(
        "--report-to",
        "services that mlx-lm reports to: wandb, swanlab, or both",
        metavar="NAMES",
        default_help="none",
    )
    project_name: str | None = option(
        "--project-name", "project name in these services", metavar="NAME"
    )


@dataclass(frozen=True, kw_only=True)
class TrainOptions(TrainValues):
    """The options of one `yourai train`.

    `model` is as it was named, `presets` the list that it is looked up in; other paths are
    absolute.
    """

    model: str = option(
        "--model",
        "the model to train: a preset, a folder or owner/name",
        value=dataclasses.MISSING,
        metavar="NAME",
        parse=_model_name,
    )
    config: Path | None = option(
        "--config",
        "recipe: the YAML file that mlx_lm.lora --config takes",
        aliases=("-c",),
        metavar="FILE",
        parse=_path,
    )
    profile: Path | None = option(
        "--profile", "train with the optimum of this profile", metavar="FILE", parse=_path
    )
    auto_optimize: bool = switch("--auto-optimize", "sweep first, and train with the optimum")
    pick: Pick | None = option(
        "--pick",
        "which answer of the profile or the sweep to train with, of those that agree with other "
        "flags",
        metavar="largest|fastest|leanest",
        default_help="by the profile's objective",
        parse=lambda text: Pick(one_of(*Pick)(text)),
    )
    quick: bool = switch("--quick", "with --auto-optimize: the quick matrix")
    matrix: Path | None = option(
        "--matrix",
        "with --auto-optimize: your own YAML matrix",
        metavar="FILE",
        default_help="full.yaml; under 10 GB low-memory.yaml",
        parse=_path,
    )
    adapter_path: Path = option(
        "--adapter-path",
        "folder for adapters and checkpoint",
        value=dataclasses.MISSING,
        metavar="FOLDER",
        default="adapters",
        parse=_path,
    )
    resume: bool = switch("--resume", "continue from the checkpoint in the adapter path")
    presets: Path = option(
        "--models",
        "YAML list of presets, where --model looks up names",
        aliases=("--presets",),
        value=packaged_models(),
        metavar="FILE",
        default_help="models.yaml",
        parse=_path,
    )
    weights: Literal["local", "hub", "synthetic"] = option(
        "--weights",
        "where weights come from; local: a folder or the local Hugging Face cache",
        value="local",
        metavar="local|hub|synthetic",
        default="local",
        parse=one_of("local", "hub", "synthetic"),
    )
    compile_timeout_s: float | None = option(
        "--compile-timeout",
        "time limit of each step that compiles, in seconds",
        metavar="S",
        default_help="900",
        parse=positive(_MOST_SECONDS),
    )
    force: bool = switch(
        "--force", "continue where the guard would stop, or available memory is under the floor"
    )
    trust_remote_code: bool = switch(
        "--trust-remote-code", "run Python code that a model folder brings"
    )


TRAIN_FIELDS = sorted(dataclasses.fields(TrainOptions), key=lambda field: field.name != "model")
"""In the order of help: what to train comes first."""

TRAIN_OPTIONS: dict[str, TrainOption] = {
    each.name: each.metadata["option"] for each in TRAIN_FIELDS
}
"""By the name of the field."""

VALUE_OPTIONS = {each.name: TRAIN_OPTIONS[each.name] for each in dataclasses.fields(TrainValues)}
"""Those that others than the flag may decide."""

DEFAULTS = TrainValues(**{name: each.default for name, each in VALUE_OPTIONS.items()})

TRAIN_GROUPS = {
    "What to train": (
        *("model", "config", "profile", "auto_optimize", "pick", "quick", "matrix", "resume"),
        *("data", "bad_rows", "mask_prompt", "weights", "quantize", "presets"),
    ),
    "Configuration": (
        *("batch_size", "rank", "num_layers", "max_seq_length", "grad_checkpoint"),
        *("fine_tune_type", "optimizer", "lora_keys", "dropout", "grad_accumulation_steps"),
        *("learning_rate", "max_grad_norm", "seed"),
    ),
    "Budget": ("memory_limit_bytes", "compile_timeout_s", "force"),
    "Course": (
        *("max_steps", "steps_per_eval", "val_batches", "patience", "save_every"),
        *("reload_interval", "memory_report_interval", "max_skipped_batches"),
    ),
    "Output": ("adapter_path", "keep", "report_to", "project_name"),
    "Advanced": ("trust_remote_code",),
}
"""The names of the fields that help shows together, by its title for them."""

HANDED_ON = (
    *TRAIN_GROUPS["Course"],
    *TRAIN_GROUPS["Output"],
    *("learning_rate", "max_grad_norm", "seed"),
)
"""Those that a sweep does not measure, and the training with its answer needs."""

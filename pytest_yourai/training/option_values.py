"""The options of `yourai train` that a flag, a checkpoint, a profile or a default may decide."""

# ruff: noqa: RUF009 - these calls make fields

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

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
from pytest_yourai.core.recipe import MLX_LM_DEFAULTS
from pytest_yourai.core.units import GB
from pytest_yourai.training.option_fields import TrainOption, axis_option, count, option

_MAX_SEED = 2**32 - 1
"""The largest seed that NumPy accepts."""

_MAX_LEARNING_RATE = 10


_MAX_GRAD_NORM = 1e6


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


VALUE_OPTIONS: dict[str, TrainOption] = {
    each.name: each.metadata["option"] for each in dataclasses.fields(TrainValues)
}
"""By the name of the field."""


DEFAULTS = TrainValues(**{name: each.default for name, each in VALUE_OPTIONS.items()})

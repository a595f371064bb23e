"""LoRA configurations, quantization of the base model, the steps of a trial, and their defaults."""

from __future__ import annotations

import enum
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

SAFETY_MARGIN = 1.15
"""Safe memory is minimum memory times this; the limit while measuring is the budget over this."""

# mlx-lm's defaults (mlx_lm.lora.CONFIG_DEFAULTS).
LORA_SCALE = 20.0

LORA_DROPOUT = 0.0

LEARNING_RATE = 1e-5

OPTIMIZER = "adam"

ITERATIONS = 1000

SEED = 0

USUAL_LORA_KEYS = ("q_proj", "k_proj", "v_proj", "o_proj")
"""Last components of the module paths that get adapters unless the user names others."""

DEFAULT_MAX_SEQ_LENGTH = 512
"""Tokens, for a model whose preset has no default of its own."""

COMPILING_STEPS = 2
"""The first builds the optimizer's state, so the second one compiles again."""

COMPILE_TIMEOUT_S = 900.0
"""For one step that compiles: a mixture of experts took 332 s on a cold H200."""

MAX_WARMUP_STEPS = 8

QUANTIZATION_BITS = (2, 3, 4, 5, 6, 8)
"""Numbers of bits that `mlx.core.quantize` takes in its affine mode."""

QUANTIZATION_MODES = ("affine", "mxfp4", "mxfp8", "nvfp4")

GROUP_SIZES = (32, 64, 128)


@dataclass(frozen=True, slots=True)
class Quantization:
    """Quantization of the base model's weights, as in `mlx.nn.quantize`."""

    bits: int
    group_size: int = 64
    mode: str = "affine"

    def __post_init__(self) -> None:
        if self.mode != "affine":
            if self.mode not in QUANTIZATION_MODES:
                raise ValueError(f"mode must be one of {QUANTIZATION_MODES}, not {self.mode}")
            return
        if self.bits not in QUANTIZATION_BITS:
            raise ValueError(f"bits must be one of {QUANTIZATION_BITS}, not {self.bits}")
        if self.group_size not in GROUP_SIZES:
            raise ValueError(f"group_size must be one of {GROUP_SIZES}, not {self.group_size}")

    def __str__(self) -> str:
        return f"{self.bits}-bit" if self.mode == "affine" else self.mode


QuantizeChoice = Quantization | Literal["none"] | None
"""The user's choice for the base model: a quantization, "none", or no choice (None)."""


def parse_quantize(text: str) -> Quantization | Literal["none"]:
    """The quantization that `text` names: "none" or a number of bits; ValueError otherwise."""
    if text == "none":
        return "none"
    if text.isdecimal() and int(text) in QUANTIZATION_BITS:
        return Quantization(bits=int(text))
    allowed = ", ".join(map(str, QUANTIZATION_BITS))
    raise ValueError(f"it must be none or a number of bits out of {allowed}")


def quantize_choice(value: int | str | None) -> QuantizeChoice:
    """The choice that a value in YAML makes; ValueError for any other value."""
    return None if value is None else parse_quantize(str(value))


class Objective(enum.StrEnum):
    """The measure that the best configuration has most of."""

    SCORE = "score"
    TOKENS_PER_SECOND = "tokens_per_second"


@dataclass(frozen=True, slots=True)
class RowShape:
    """Length and checkpointing of rows, whatever the batch: `max_seq_length` is in tokens."""

    max_seq_length: int
    grad_checkpoint: bool = False


@dataclass(frozen=True, slots=True)
class LoraConfig:
    """One point of the matrix, in mlx-lm's spelling; ValueError for a number below its minimum.

    `num_layers` counts adapted layers from the end of the model; `max_seq_length` is in tokens.
    """

    batch_size: int
    rank: int
    num_layers: int
    max_seq_length: int
    grad_checkpoint: bool = False

    def __post_init__(self) -> None:
        for name in ("batch_size", "rank", "num_layers"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")
        if self.max_seq_length < 2:  # noqa: PLR2004 - a row of S tokens trains S - 1 positions
            raise ValueError(f"max_seq_length must be at least 2, not {self.max_seq_length}")

    @property
    def row_shape(self) -> RowShape:
        """The two axes that say how rows are trained."""
        return RowShape(self.max_seq_length, self.grad_checkpoint)

    @property
    def throughput_score(self) -> int:
        """Batch size × rank × adapted layers, the default objective; without a unit."""
        return self.batch_size * self.rank * self.num_layers

    def needs_at_least_as_much_as(self, other: LoraConfig) -> bool:
        """True if no axis is below `other`'s, so that minimum memory cannot be below it either.

        Minimum memory rises with batch, rank, layers and tokens; checkpointing lowers it.
        """
        return (
            self.batch_size >= other.batch_size
            and self.rank >= other.rank
            and self.num_layers >= other.num_layers
            and self.max_seq_length >= other.max_seq_length
            and self.grad_checkpoint <= other.grad_checkpoint
        )

    def __str__(self) -> str:
        return f"batch={self.batch_size}, rank={self.rank}, layers={self.num_layers}"


@dataclass(frozen=True, slots=True)
class StepPlan:
    """Numbers of steps of a trial; ValueError for numbers that contradict each other.

    Warm-up goes on, from `warmup_steps` to at most `max_warmup_steps`, until the times of two
    steps in a row agree within `warmup_tolerance` of the shorter; the first two, which both
    compile, do not count as such a pair. Settling steps under the wider limit follow, one for each
    padded shape that will be measured (synthetic rows have one), then `measured_steps`.
    """

    measured_steps: int = 10
    warmup_steps: int = 2
    max_warmup_steps: int = MAX_WARMUP_STEPS
    warmup_tolerance: float = 0.10

    def __post_init__(self) -> None:
        if self.measured_steps < 1:
            raise ValueError(f"measured_steps must be at least 1, not {self.measured_steps}")
        if self.warmup_steps < COMPILING_STEPS:
            raise ValueError(f"warmup_steps must be at least 2, not {self.warmup_steps}")
        if self.max_warmup_steps < self.warmup_steps:
            raise ValueError(
                f"max_warmup_steps must be at least warmup_steps, which is {self.warmup_steps}, "
                f"not {self.max_warmup_steps}"
            )

    @classmethod
    def of(cls, measured_steps: int, warmup_steps: int) -> StepPlan:
        """A plan that runs all of `warmup_steps`, even if they are more than MAX_WARMUP_STEPS."""
        return cls(measured_steps, warmup_steps, max(warmup_steps, MAX_WARMUP_STEPS))

    def warmup_is_over(self, step_times_s: list[float]) -> bool:
        """True if warm-up may end after steps that took `step_times_s` (seconds, in order)."""
        if len(step_times_s) < max(self.warmup_steps, COMPILING_STEPS + 1):
            return False
        if len(step_times_s) >= self.max_warmup_steps:
            return True
        fast, slow = sorted(step_times_s[-2:])
        return slow <= fast * (1 + self.warmup_tolerance)

    @property
    def most_steps(self) -> int:
        """Upper bound of the steps of a trial: each measured one may have a shape to settle."""
        return self.max_warmup_steps + 2 * self.measured_steps


def minimum_memory_bytes(warmup_peaks: Sequence[int]) -> int:
    """Minimum memory in bytes, from the MLX peaks of one or more warm-up steps, in their order.

    The first step is left out if there are others: it has no optimizer state yet. Of the rest the
    (lower) median: most steps have the same peak to the byte, and one in sixteen, where a buffer
    was released late, up to 2 % more (measured on an H200, llama-8b in 4 bits, 12 configurations,
    48 trials of 8 steps, MLX 0.32.4).
    """
    return statistics.median_low(warmup_peaks[1:] or warmup_peaks)

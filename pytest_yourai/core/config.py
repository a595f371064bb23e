"""LoRA configurations, quantization of the base model, the steps of a trial, and their defaults."""

from __future__ import annotations

import dataclasses
import enum
import functools
import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from pytest_yourai.core.recipe_needs import recipe_needs_at_least_as_much

SAFETY_MARGIN = 1.15
"""Safe memory is minimum memory times this; the limit while measuring is the budget over this."""

ALL_LAYERS = -1
"""mlx-lm's `num_layers` for all layers of a model."""

ALL_KEYS = "all"
"""Adapters on every linear layer of the adapted layers, mlx-lm's own default."""

KEY_SETS = {
    "qkvo": ("q_proj", "k_proj", "v_proj", "o_proj"),
    "qv": ("q_proj", "v_proj"),
}
"""Named sets of modules, by the last components of their paths within a layer."""

DEFAULT_MAX_SEQ_LENGTH = 512
"""Tokens, for a model whose preset has no default of its own."""

MLX_LM_MAX_SEQ_LENGTH = 2048
"""Tokens, in a recipe that does not say."""

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


class FineTuneType(enum.StrEnum):
    """mlx-lm's `fine_tune_type`."""

    LORA = "lora"
    DORA = "dora"
    FULL = "full"


class Optimizer(enum.StrEnum):
    """mlx-lm's `optimizer`."""

    ADAM = "adam"
    ADAMW = "adamw"
    MUON = "muon"
    SGD = "sgd"
    ADAFACTOR = "adafactor"


def canonical_keys(names: Iterable[str]) -> str:
    """The one text for a choice of LoRA keys: a named set, or paths between commas, sorted."""
    chosen = sorted({name.strip() for name in names} - {""})
    if not chosen:
        raise ValueError("it must name modules, such as self_attn.q_proj,self_attn.v_proj")
    named = [name for name in chosen if name == ALL_KEYS or name in KEY_SETS]
    if named and len(chosen) > 1:
        raise ValueError(f"{named[0]} stands for a set of modules: name it alone")
    return ",".join(chosen)


@functools.lru_cache
def key_names(lora_keys: str) -> tuple[str, ...] | None:
    """The paths, or last components, that a choice of `canonical_keys` names; None for all."""
    return None if lora_keys == ALL_KEYS else KEY_SETS.get(lora_keys, tuple(lora_keys.split(",")))


def recorded_keys(paths: Iterable[str]) -> str:
    """The choice that led to adapters on `paths`, for a profile that does not name it."""
    paths = tuple(paths)
    names = tuple(sorted(path.rpartition(".")[2] for path in paths))
    sets = {tuple(sorted(each)): name for name, each in KEY_SETS.items()}
    return sets.get(names, "qkvo") if names in sets or not names else canonical_keys(paths)


def comparable_keys(lora_keys: str) -> str:
    """Equal for choices that name the same modules, by a set or by paths."""
    names = key_names(lora_keys)
    return ALL_KEYS if names is None else recorded_keys(names)


@dataclass(frozen=True, slots=True)
class LoraConfig:
    """One point of the matrix, in mlx-lm's spelling; ValueError for a number below its minimum.

    The part of a recipe that varies from trial to trial. `num_layers` counts trained layers from
    the end of the model; `max_seq_length` is in tokens; `lora_keys` is a text of `canonical_keys`.
    """

    batch_size: int
    rank: int
    """0 where `fine_tune_type` is full, which has no adapters."""
    num_layers: int
    max_seq_length: int
    grad_checkpoint: bool = False
    fine_tune_type: FineTuneType = FineTuneType.LORA
    optimizer: Optimizer = Optimizer.ADAM
    lora_keys: str = "qkvo"
    """As in the packaged matrices; mlx-lm's own default is ALL_KEYS."""
    dropout: float = 0.0
    grad_accumulation_steps: int = 1

    def __post_init__(self) -> None:
        least_rank = 0 if self.fine_tune_type is FineTuneType.FULL else 1
        least = {
            "batch_size": 1,
            "rank": least_rank,
            "num_layers": 1,
            "max_seq_length": 2,  # a row of S tokens trains S - 1 positions
            "grad_accumulation_steps": 1,
        }
        for name, minimum in least.items():
            if getattr(self, name) < minimum:
                raise ValueError(f"{name} must be at least {minimum}, not {getattr(self, name)}")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout must be at least 0 and below 1, not {self.dropout}")

    def canonical(self) -> LoraConfig:
        """The same training, without values that `fine_tune_type` full ignores."""
        if self.fine_tune_type is not FineTuneType.FULL:
            return self
        return dataclasses.replace(self, rank=0, lora_keys=ALL_KEYS, dropout=0.0)

    @property
    def effective_batch_size(self) -> int:
        """Rows of one update of the optimizer."""
        return self.batch_size * self.grad_accumulation_steps

    @property
    def score_factors(self) -> tuple[int, ...]:
        """Batch size, rank and adapted layers; full fine-tuning has no rank."""
        ranks = (self.rank,) if self.rank else ()
        return (self.batch_size, *ranks, self.num_layers)

    @property
    def throughput_score(self) -> int:
        """Batch size × rank × adapted layers, the default objective; without a unit.

        Full fine-tuning counts as rank 1.
        """
        return math.prod(self.score_factors)

    def needs_at_least_as_much_as(self, other: LoraConfig) -> bool:
        """True if no axis is below `other`'s, so that minimum memory cannot be below it either.

        Minimum memory rises with batch, rank, layers and tokens; checkpointing lowers it. What is
        trained, and how, counts in the order that was measured.
        """
        return (
            self.batch_size >= other.batch_size
            and self.rank >= other.rank
            and self.num_layers >= other.num_layers
            and self.max_seq_length >= other.max_seq_length
            and self.grad_checkpoint <= other.grad_checkpoint
            and recipe_needs_at_least_as_much(self, other)
        )

    @property
    def key_names(self) -> tuple[str, ...] | None:
        """Names of linear layers that get adapters; None for all."""
        return key_names(self.lora_keys)

    def __str__(self) -> str:
        rank = f"rank={self.rank}, " if self.rank else ""
        return f"batch={self.batch_size}, {rank}layers={self.num_layers}"


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


def minimum_memory_bytes(warmup_peaks: Sequence[int]) -> int:
    """Minimum memory in bytes, from the MLX peaks of one or more warm-up steps, in their order.

    The first step is left out if there are others: it has no optimizer state yet. Of the rest the
    (lower) median: most steps have the same peak to the byte, and one in sixteen, where a buffer
    was released late, up to 2 % more (measured on an H200, llama-8b in 4 bits, 12 configurations,
    48 trials of 8 steps, MLX 0.32.4).
    """
    return statistics.median_low(warmup_peaks[1:] or warmup_peaks)

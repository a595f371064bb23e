"""What fits instead of a configuration that does not, by estimate: the nearest ones first.

    nearest_fits(source, config, budget_bytes, *, backend, recipe=…, device="", longest_row=None,
                 measured_bytes=None, is_cautious=False, ranks=1) -> list[NearestFit]

`source` is the model with its quantization, `config` what was wanted. Each NearestFit has the
`config` and `quantization` that fit, `needs_bytes`, the `change` in words and its `flags`.

What may change, and how much each step of it counts:

    batch size, with the accumulation that keeps the rows of an update   1 each time it halves
    gradient checkpointing                                               1
    fewer bits: 16 → 8 → 4                                               2 each
    fewer layers, down to 4                                              3 each time they halve
    a smaller rank, down to 8                                            3 each time it halves
    shorter rows, down to 128 tokens                                     4 each time they halve

The first two cost time and leave the result of training alone; coarser weights change it a little,
fewer trained parameters more, and rows that are cut lose data. Nearest is what adds up to least. A
proposal that changes all that another does, and as much or more of each, is left out.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass

from pytest_yourai.core.axes import (
    BATCH_SIZE,
    GRAD_ACCUMULATION_STEPS,
    GRAD_CHECKPOINT,
    MAX_SEQ_LENGTH,
    NUM_LAYERS,
    RANK,
    Axis,
    value_text,
)
from pytest_yourai.core.config import SAFETY_MARGIN, FineTuneType, LoraConfig, Quantization
from pytest_yourai.core.device import Backend
from pytest_yourai.core.hosts import rank_share
from pytest_yourai.core.recipe import MLX_LM_DEFAULTS, Recipe
from pytest_yourai.estimate.memory_estimate import MemoryEstimate
from pytest_yourai.estimate.training_memory import estimate_trial
from pytest_yourai.models.architecture_reader import read_architecture_shapes
from pytest_yourai.models.dataset_lengths import padded_length
from pytest_yourai.models.source import ModelSource

_MOST = 5

_SHORTEST_ROWS = 128

_FEWEST_LAYERS = 4

_SMALLEST_RANK = 8

_FEWER_BITS = (8, 4)

_FULL_BITS = 16

_COSTS = {
    BATCH_SIZE.name: 1.0,
    GRAD_CHECKPOINT.name: 1.0,
    "bits": 2.0,
    NUM_LAYERS.name: 3.0,
    RANK.name: 3.0,
    MAX_SEQ_LENGTH.name: 4.0,
}
"""What a step of each kind counts; in the order in which changes are named."""


@dataclass(frozen=True, slots=True)
class NearestFit:
    """A configuration that fits by estimate, and what of the wanted one it changes. Bytes."""

    config: LoraConfig
    quantization: Quantization | None
    needs_bytes: int
    """Minimum memory, to which the margin comes."""
    estimate: MemoryEstimate
    wanted: LoraConfig
    is_requantized: bool = False

    @property
    def changed_axes(self) -> tuple[Axis, ...]:
        """The axes in which it differs from what was wanted."""
        order = (
            BATCH_SIZE,
            GRAD_ACCUMULATION_STEPS,
            GRAD_CHECKPOINT,
            NUM_LAYERS,
            RANK,
            MAX_SEQ_LENGTH,
        )
        return tuple(axis for axis in order if axis.of(self.config) != axis.of(self.wanted))

    @property
    def keeps_the_result(self) -> bool:
        """True if the changes cost time alone: the same updates are computed, in smaller parts."""
        free = {BATCH_SIZE, GRAD_ACCUMULATION_STEPS, GRAD_CHECKPOINT}
        return not self.is_requantized and free.issuperset(self.changed_axes)

    @property
    def change(self) -> str:
        """The changes in words: `batch 1 with accumulation 4, checkpointing, 4-bit weights`."""
        return ", ".join(self._changes())

    def _changes(self) -> Iterator[str]:
        changed, config = self.changed_axes, self.config
        if BATCH_SIZE in changed:
            kept = f" with accumulation {config.grad_accumulation_steps}"
            has_kept = config.grad_accumulation_steps > 1
            yield f"batch {config.batch_size}{kept if has_kept else ''}"
        if GRAD_CHECKPOINT in changed:
            yield "checkpointing"
        if self.is_requantized:
            yield f"{self.quantization} weights"
        if NUM_LAYERS in changed:
            yield f"{config.num_layers} layers"
        if RANK in changed:
            yield f"rank {config.rank}"
        if MAX_SEQ_LENGTH in changed:
            yield f"rows of {config.max_seq_length} tokens"

    @property
    def flags(self) -> tuple[str, ...]:
        """Flags of pytest for all that is changed."""
        bits = self.quantization.bits if self.quantization and self.is_requantized else None
        quantize = [] if bits is None else [f"--yourai-quantize={bits}"]
        return (*(axis_flag(axis, self.config) for axis in self.changed_axes), *quantize)


def axis_flag(axis: Axis, config: LoraConfig) -> str:
    """The flag of pytest that names the value of `config`."""
    if axis.metavar is None:
        return f"--yourai-{axis.flag}"
    return f"--yourai-{axis.flag}={value_text(axis.of(config))}"


def nearest_fits(
    source: ModelSource,
    config: LoraConfig,
    budget_bytes: float,
    *,
    backend: Backend,
    recipe: Recipe = MLX_LM_DEFAULTS,
    device: str = "",
    longest_row: int | None = None,
    measured_bytes: int | None = None,
    is_cautious: bool = False,
    ranks: int = 1,
) -> list[NearestFit]:
    """At most five configurations near `config` whose minimum with its margin is within the budget.

    `longest_row` is that of the data in tokens, None for rows of full length. `measured_bytes`, the
    minimum that was measured with `config`, corrects the estimates. With `is_cautious` it is not
    the minimum that fits, but the most that it may be. Of `ranks` that train together each needs
    its share; batches that they do not divide are no proposals. Empty where nothing fits;
    ModelError where the model cannot be estimated.
    """
    depth = read_architecture_shapes(source.architecture).num_hidden_layers
    config = dataclasses.replace(config, num_layers=min(config.num_layers, depth))
    search = _Search(source, config, backend, recipe, device, longest_row, ranks)
    correction = 1.0
    if measured_bytes is not None:
        correction = measured_bytes / search.estimate(config, source.quantization).minimum_bytes

    def fit(candidate: _Candidate) -> NearestFit | None:
        found = search.estimate(candidate.config, candidate.quantization)
        most = found.conservative_bytes if is_cautious else found.minimum_bytes
        if most * correction * SAFETY_MARGIN > budget_bytes:
            return None
        needs = round(found.minimum_bytes * correction)
        is_requantized = candidate.quantization != source.quantization
        return NearestFit(
            candidate.config, candidate.quantization, needs, found, config, is_requantized
        )

    candidates = sorted(search.candidates(), key=lambda each: each.cost)
    if all(fit(each) is None for each in candidates[-1:]):
        return []
    found: list[NearestFit] = []
    kept: list[_Candidate] = []
    for each in candidates[1:]:
        if not any(each.changes_as_much_as(other) for other in kept) and (fits := fit(each)):
            kept.append(each)
            found.append(fits)
            if len(found) == _MOST:
                break
    return found


@dataclass(frozen=True, slots=True)
class _Candidate:
    """`steps` counts the changes of each kind, in the order of _COSTS."""

    config: LoraConfig
    quantization: Quantization | None
    steps: tuple[float, ...]

    @property
    def cost(self) -> tuple[float, int]:
        total = sum(map(math.prod, zip(self.steps, _COSTS.values(), strict=True)))
        return total, sum(step > 0 for step in self.steps)

    def changes_as_much_as(self, other: _Candidate) -> bool:
        return all(mine >= theirs for mine, theirs in zip(self.steps, other.steps, strict=True))


@dataclass(frozen=True)
class _Search:
    """The candidates near a configuration, and their estimates."""

    source: ModelSource
    wanted: LoraConfig
    backend: Backend
    recipe: Recipe
    device: str
    longest_row: int | None
    ranks: int

    def candidates(self) -> Iterator[_Candidate]:
        """All combinations of changes; the first one changes nothing, the last one most."""
        wanted = self.wanted
        combinations = itertools.product(
            self._batch_sizes(),
            (False, True)[wanted.grad_checkpoint :],
            self._quantizations(),
            _halved(wanted.num_layers, _FEWEST_LAYERS),
            _halved(wanted.rank, _SMALLEST_RANK),
            self._lengths(),
        )
        for batch, checkpoint, quantization, layers, rank, length in combinations:
            config = dataclasses.replace(
                wanted,
                batch_size=batch,
                grad_accumulation_steps=wanted.effective_batch_size // batch,
                grad_checkpoint=checkpoint,
                num_layers=layers,
                rank=rank,
                max_seq_length=length,
            )
            steps = (
                _halvings(wanted.batch_size, batch),
                float(checkpoint and not wanted.grad_checkpoint),
                _halvings(_bits(self.source.quantization), _bits(quantization)),
                _halvings(wanted.num_layers, layers),
                _halvings(wanted.rank, rank),
                _halvings(wanted.max_seq_length, length),
            )
            yield _Candidate(config, quantization, steps)

    def estimate(self, config: LoraConfig, quantization: Quantization | None) -> MemoryEstimate:
        """The estimate with rows as long as the data has them."""
        source, config = self.source, rank_share(config, self.ranks)
        if quantization != source.quantization:
            source = dataclasses.replace(source, quantization=quantization, stored_bytes=None)
        if self.longest_row is not None:
            longest = padded_length(self.longest_row, config.max_seq_length)
            config = dataclasses.replace(config, max_seq_length=longest)
        return estimate_trial(config, source, self.backend, self.device, recipe=self.recipe)

    def _batch_sizes(self) -> tuple[int, ...]:
        """The wanted one, then the smaller ones that keep the rows of an update."""
        rows, most = self.wanted.effective_batch_size, self.wanted.batch_size
        even = (each for each in range(most - 1, 0, -1) if rows % each == 0)
        return (most, *(each for each in even if each % self.ranks == 0))

    def _lengths(self) -> tuple[int, ...]:
        """The wanted one, then halves of it that cut some rows."""
        wanted = self.wanted.max_seq_length
        longest = wanted if self.longest_row is None else self.longest_row
        return (wanted, *(each for each in _halved(wanted, _SHORTEST_ROWS)[1:] if each < longest))

    def _quantizations(self) -> tuple[Quantization | None, ...]:
        """That of the source, then those with fewer bits that its weights can be loaded in."""
        now, architecture = self.source.quantization, self.source.architecture
        is_stored = "quantization" in architecture or "quantization_config" in architecture
        if is_stored or self.wanted.fine_tune_type is FineTuneType.FULL:
            return (now,)
        fewer = (Quantization(bits) for bits in _FEWER_BITS if bits < _bits(now))
        return (now, *fewer)


def _bits(quantization: Quantization | None) -> int:
    return quantization.bits if quantization else _FULL_BITS


def _halved(value: int, least: int) -> tuple[int, ...]:
    """`value` and its halves, down to `least`."""
    halves = (value >> count for count in itertools.count(1))
    return (value, *itertools.takewhile(lambda half: half >= least, halves))


def _halvings(wanted: int, value: int) -> float:
    return math.log2(wanted / value) if value else 0.0

"""Is another machine worth it: one configuration on 1, 2, 4 and N machines, before it runs."""

from __future__ import annotations

import dataclasses
import enum
import functools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_yourai.core.axes import BATCH_SIZE
from pytest_yourai.core.config import SAFETY_MARGIN, LoraConfig
from pytest_yourai.core.device import Backend
from pytest_yourai.core.errors import OptionError
from pytest_yourai.core.hosts import DistributedBackend, HostGroup, rank_share
from pytest_yourai.core.ranking import best
from pytest_yourai.core.recipe import Recipe
from pytest_yourai.core.results import TrialResult
from pytest_yourai.estimate.data_parallel import (
    Link,
    TimeAlone,
    link_of,
    measured_link,
    sum_time_s,
    time_alone,
    together_time_s,
    usual_gbit,
)
from pytest_yourai.estimate.training_memory import gradient_bytes
from pytest_yourai.models.source import ModelSource
from pytest_yourai.plan.options import Options
from pytest_yourai.store.profile_reader import read_profile_of
from pytest_yourai.store.stored_profile import StoredProfile

if TYPE_CHECKING:
    from pytest_yourai.estimate.predictor import Predictor

_USUAL_NUMBERS = (1, 2, 4)

_NOTICEABLE = 0.1
"""Share of a step from which the link, or what a step costs whatever its batch, is named."""


class Limit(enum.StrEnum):
    """What keeps so many machines from being so many times as fast."""

    NOTHING = "nothing"
    LINK = "the link"
    FIXED_COST = "steps too short to share"
    MEMORY = "memory"
    BATCH = "batch too small to divide"


@dataclass(frozen=True, slots=True)
class Scaling:
    """One configuration on so many machines together. Bytes of one of them, and seconds.

    What takes time is None where no step was measured, `efficiency` also where one machine cannot
    train the configuration; 1 is as fast as so many machines can be.
    """

    machines: int
    config: LoraConfig
    """Its batch is that of all machines together."""
    limited_by: Limit
    needs_bytes: int | None = None
    sum_time_s: float = 0.0
    """For the gradients of one update."""
    step_time_s: float | None = None
    tokens_per_second: float | None = None
    efficiency: float | None = None
    is_measured: bool = False
    """True if the time of its share alone was measured, and not fitted to other batches."""


@dataclass(frozen=True, slots=True)
class Measured:
    """What profiles tell: of one process the times of steps, of several ranks that of the link."""

    alone: StoredProfile | None = None
    together: StoredProfile | None = None


def read_measured(options: Options, name: str, source: ModelSource) -> Measured:
    """The profiles that a flag names, of the model called `name`; OptionError for others."""
    found = [_read(path, name, source) for path in options.profiles]
    alone = [each for each in found if each.settings.ranks == 1]
    together = [each for each in found if each.settings.ranks > 1]
    for alike in (alone, together):
        if len(alike) > 1:
            raise OptionError(
                f"--yourai-profile: {alike[0].name} and {alike[1].name} are both of "
                f"{'one process' if alike is alone else 'several ranks'}: name one of them"
            )
    return Measured(next(iter(alone), None), next(iter(together), None))


def _read(path: Path, name: str, source: ModelSource) -> StoredProfile:
    found = read_profile_of(path, (name,))
    if found.model != name:
        raise OptionError(
            f"--yourai-profile: {found.name} is of {found.model}, not of {name}: name one of it"
        )
    held = found.settings.quantization
    if held is not None and held != (source.quantization or "none"):
        raise OptionError(
            f"--yourai-profile: {found.name} is of {_weights(held)}, not of "
            f"{_weights(source.quantization)}: name another, or choose by --yourai-quantize"
        )
    return found


def _weights(quantization: object) -> str:
    is_full = quantization in (None, "none")
    return "weights that are not quantized" if is_full else f"{quantization} weights"


def base_of(
    safe: LoraConfig, ranks: int, options: Options, measured: StoredProfile | None
) -> LoraConfig:
    """What one machine trains: the answer of its profile, as far as flags agree with it.

    Without a profile its share of `safe`. A batch that a flag names is one of all machines.
    """
    config = rank_share(safe, ranks)
    others = {name: each for name, each in options.axes.items() if name != BATCH_SIZE.name}
    agreeing = [
        each
        for each in (measured.successes if measured else [])
        if all(getattr(each.config, name) in values for name, values in others.items())
    ]
    if measured is not None and agreeing:
        first = measured.headline
        found = first if first in agreeing else best(agreeing, measured.objective)
        config = found.config if found else config
    batches = options.axes.get(BATCH_SIZE.name)
    return dataclasses.replace(config, batch_size=max(batches)) if batches else config


@dataclass(frozen=True, slots=True)
class ScalingTable:
    """A row for each number of machines with the same batch, and one with as much on each."""

    rows: tuple[Scaling, ...]
    backend: DistributedBackend
    gbit: float
    """Speed of the link between them in Gbit/s."""
    is_assumed: bool
    """True if that is a usual speed, and nobody's."""


@dataclass(frozen=True)
class Scaler:
    """Predicts configurations on several machines, each like the one that was measured."""

    source: ModelSource
    backend: Backend
    recipe: Recipe
    hosts: HostGroup
    known: Measured
    limit_bytes: int
    link_gbit: float | None = None

    def table(self, base: LoraConfig) -> ScalingTable:
        """`base` on 1, 2, 4 and as many machines as are asked for."""
        predictor = self._predictor()
        alone = time_alone(self._results, base)
        rows = [
            self._on(machines, config, predictor, alone)
            for machines in sorted({*_USUAL_NUMBERS, self.hosts.world_size})
            for config in dict.fromkeys((base, _times(base, machines)))
        ]
        here, backend = self.hosts.is_here, self._backend
        gbit = self.link_gbit or usual_gbit(backend, is_here=here)
        is_measured = self._link != link_of(backend, is_here=here, gbit=self.link_gbit)
        if is_measured:
            gbit = self._link.bytes_per_s * 8 / 1e9
        return ScalingTable(tuple(rows), backend, gbit, not (self.link_gbit or is_measured))

    def _on(
        self, machines: int, config: LoraConfig, predictor: Predictor, one: TimeAlone | None
    ) -> Scaling:
        if config.batch_size % machines:
            return Scaling(machines, config, Limit.BATCH)
        share = rank_share(config, machines)
        needs_bytes = self._needs(share, predictor)
        sum_s = sum_time_s(gradient_bytes(config, self.source), machines, self._link)
        time = time_alone(self._results, share)
        is_over = needs_bytes is not None and needs_bytes * SAFETY_MARGIN > self.limit_bytes
        limit = Limit.MEMORY if is_over else Limit.NOTHING
        found = Scaling(machines, config, limit, needs_bytes, sum_s)
        if time is None:
            return found
        sum_of_a_step_s = sum_s / config.grad_accumulation_steps
        step_s = together_time_s(
            time.step_time_s, sum_of_a_step_s, machines, on_cuda=self._is_of_cuda
        )
        speed = time.tokens * machines / step_s
        efficiency = speed / machines * one.step_time_s / one.tokens if one else None
        if limit is Limit.NOTHING and machines > 1:
            limit = _limit(step_s, time, sum_of_a_step_s, one)
        return dataclasses.replace(
            found,
            limited_by=limit,
            step_time_s=step_s,
            tokens_per_second=speed,
            efficiency=efficiency,
            is_measured=time.is_measured,
        )

    def _predictor(self) -> Predictor:
        # Its numpy takes longer to import than all else here.
        from pytest_yourai.estimate.predictor import Predictor  # noqa: PLC0415

        device = (self.measured.environment.device if self.measured else None) or ""
        predictor = Predictor(self.source, self.backend, device, recipe=self.recipe)
        if self.measured is not None and self.measured.has_minima:
            for each in self.measured.successes:
                predictor.learn(each)
        return predictor

    @property
    def _results(self) -> list[TrialResult]:
        return self.measured.successes if self.measured else []

    @property
    def _is_of_cuda(self) -> bool:
        """True if the steps were measured with CUDA; a table may be made elsewhere."""
        measured = self.measured.environment.backend if self.measured else None
        return (measured or self.backend) == "cuda"

    def _needs(self, share: LoraConfig, predictor: Predictor) -> int | None:
        known = self.measured if self.measured and self.measured.has_minima else None
        result = known.results.get(share) if known else None
        if result is not None and result.minimum_memory_bytes:
            return result.minimum_memory_bytes
        prediction = predictor.predict(share)
        return prediction.minimum_bytes if prediction else None

    @property
    def _backend(self) -> DistributedBackend:
        return self.hosts.chosen_backend(has_cuda=self.backend == "cuda")

    @functools.cached_property
    def _link(self) -> Link:
        found = link_of(self._backend, is_here=self.hosts.is_here, gbit=self.link_gbit)
        together = self.known.together
        if together is None or self.link_gbit is not None:
            return found
        return measured_link(together.successes, together.settings.ranks, found)

    @property
    def measured(self) -> StoredProfile | None:
        """What one machine alone has measured."""
        return self.known.alone


def _limit(step_s: float, time: TimeAlone, sum_s: float, one: TimeAlone | None) -> Limit:
    """What costs most of what is lost, if that is noticeable."""
    fixed_s = 0.0 if one is None else time.step_time_s - time.tokens * one.step_time_s / one.tokens
    lost = {Limit.LINK: sum_s, Limit.FIXED_COST: fixed_s}
    most = max(lost, key=lambda each: lost[each])
    return most if lost[most] > _NOTICEABLE * step_s else Limit.NOTHING


def _times(base: LoraConfig, machines: int) -> LoraConfig:
    return dataclasses.replace(base, batch_size=base.batch_size * machines)


def rows_of(table: ScalingTable) -> Iterator[dict[str, object]]:
    """The rows as JSON, for the file of estimates."""
    for each in table.rows:
        yield {
            "machines": each.machines,
            "batch_size": each.config.batch_size,
            "limited_by": each.limited_by.value,
            "minimum_memory_bytes": each.needs_bytes,
            "all_sum_time_s": each.sum_time_s,
            "step_time_s": each.step_time_s,
            "tokens_per_second": each.tokens_per_second,
            "efficiency": each.efficiency,
            "is_measured": each.is_measured,
        }

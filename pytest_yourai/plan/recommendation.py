"""What is estimated for models: the configuration for each, what it needs, and whether it fits."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field

from pytest_yourai.core.config import LoraConfig, Quantization
from pytest_yourai.core.device import Backend
from pytest_yourai.core.units import gigabytes
from pytest_yourai.estimate.memory_estimate import MemoryEstimate
from pytest_yourai.estimate.shorter_rows import ShorterRows
from pytest_yourai.machine.budget import Budget
from pytest_yourai.models.dataset_lengths import TrainingData
from pytest_yourai.plan.nearest_fits import NearestFit
from pytest_yourai.plan.scaling import ScalingTable

_LEAST_PARAMETERS = 1e8

_COMPONENTS = {
    "weights_bytes": "weights",
    "adapters_bytes": "adapters",
    "gradients_bytes": "gradients",
    "optimizer_bytes": "optimizer state",
    "activations_bytes": "activations",
    "logits_bytes": "logits",
    "overhead_bytes": "work in flight",
}
"""The parts of an estimate, in words."""


class Verdict(enum.StrEnum):
    """Training fits by the conservative estimate, by the minimum alone, or not at all."""

    FITS = "fits"
    TIGHT = "tight"
    NO = "no"


@dataclass(frozen=True, slots=True)
class Recommendation:
    """One model, the best configuration for it, and what that is estimated to need.

    `asked_as` is the preset's name, or the folder as the user wrote it. Where nothing fits of what
    was asked for, `instead` is the nearest that does, which `config` is then; else it is None.
    """

    asked_as: str
    name: str
    parameters: float
    config: LoraConfig
    quantization: Quantization | None
    estimate: MemoryEstimate
    verdict: Verdict
    instead: NearestFit | None = None
    asked_bytes: int = 0
    """Minimum memory of what was asked for, where that does not fit."""
    data: TrainingData | None = None
    """The user's rows with this model's tokenizer; None for rows of full length."""
    shorter: tuple[ShorterRows, ...] = ()
    scaling: ScalingTable | None = None
    """What several machines are worth, where they were asked for."""

    @property
    def asked(self) -> LoraConfig:
        """What was asked for."""
        return self.instead.wanted if self.instead else self.config

    @property
    def is_toy(self) -> bool:
        """True for models that are too small to be of use, but for tries."""
        return self.parameters < _LEAST_PARAMETERS

    @property
    def largest_component(self) -> str:
        """The largest part of the memory: `weights 39.7 GB`."""
        largest = max(_COMPONENTS, key=lambda name: int(getattr(self.estimate, name)))
        return f"{_COMPONENTS[largest]} {gigabytes(getattr(self.estimate, largest))}"

    @property
    def limited_by(self) -> str:
        """`weights 39.7 GB of 43.2 GB`."""
        return f"{self.largest_component} of {gigabytes(self.estimate.minimum_bytes)}"


@dataclass(frozen=True, slots=True)
class Recommendations:
    """Estimates for all models that were asked for, within `budget`.

    `machine` names the machine of a detected budget, and is None for the user's. `left_out` maps
    models that cannot be estimated to the reason.
    """

    budget: Budget
    machine: str | None
    backend: Backend
    models: tuple[Recommendation, ...]
    left_out: Mapping[str, str] = field(default_factory=dict)

    @property
    def largest_that_fits(self) -> Recommendation | None:
        """The one with most parameters that fits; if none does, of those that are tight.

        Rather one that fits as asked, or with changes that keep the result, than another; and
        rather a model of use than a toy, but on a CPU the toy: others take minutes for a step.
        """
        return max(
            (model for model in self.models if model.verdict is not Verdict.NO),
            key=lambda model: (
                model.is_toy == (self.backend == "cpu"),
                model.instead is None or model.instead.keeps_the_result,
                model.verdict is Verdict.FITS,
                model.parameters,
            ),
            default=None,
        )

    def is_slow(self, model: Recommendation) -> bool:
        """True if a step takes minutes: of any model of use, on a CPU.

        A step of 64 tokens of qwen2.5-0.5b in 4 bits took more than two minutes on two cores.
        """
        return self.backend == "cpu" and not model.is_toy

    def is_rather_fast(self, model: Recommendation) -> bool:
        """True if it is no larger only because larger ones that fit are slow."""
        others = (each for each in self.models if each.verdict is not Verdict.NO)
        return not self.is_slow(model) and any(map(self.is_slow, others))

"""Which models fit, by estimate alone: nothing is run, and MLX is not needed."""

from __future__ import annotations

import dataclasses
import enum
import functools
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pytest_yourai.core.axes import AXES, BATCH_SIZE
from pytest_yourai.core.config import SAFETY_MARGIN, LoraConfig, Quantization
from pytest_yourai.core.device import Backend
from pytest_yourai.core.errors import ModelError
from pytest_yourai.core.units import gigabytes, machine_memory
from pytest_yourai.estimate.training_memory import MemoryEstimate, estimate_trial
from pytest_yourai.machine.budget import Budget, detect_budget
from pytest_yourai.machine.environment import chip, installed_backend
from pytest_yourai.machine.system_memory import read_system_memory
from pytest_yourai.models.architecture import read_architecture_shapes
from pytest_yourai.models.model import Model, NamedModel
from pytest_yourai.models.presets import read_presets
from pytest_yourai.models.resolve import resolve
from pytest_yourai.plan.config_choice import ConfigChoice, choose_configs
from pytest_yourai.plan.matrix import combinations, dividing, evenly_accumulated
from pytest_yourai.plan.nearest_fits import NearestFit, nearest_fits
from pytest_yourai.plan.options import Options
from pytest_yourai.plan.safe_table import safe_config

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


def recommend(options: Options) -> Recommendations:
    """Estimates for the models that `options` name, or for all presets.

    Models that cannot be estimated are left out; InputError if that leaves none.
    """
    presets = read_presets(options.presets)
    named = options.models or [NamedModel(name, Path(name)) for name in presets]
    backend = installed_backend()
    budget, machine = find_budget(options), None
    if budget.is_detected:
        machine = f"{chip()}, {machine_memory(read_system_memory().total_bytes)}"
    models: list[Recommendation] = []
    problems: dict[str, ModelError] = {}
    for each in named:
        try:
            model = resolve(each.name, each.folder, options.weights, presets, options.quantize)
            models.append(recommend_model(each.name, model, options, budget.limit_bytes, backend))
        except ModelError as problem:
            problems[each.name] = problem
    if not models:
        raise next(iter(problems.values()))
    return Recommendations(
        budget=budget,
        machine=machine,
        backend=backend,
        models=tuple(models),
        left_out={name: str(problem) for name, problem in problems.items()},
    )


def find_budget(options: Options) -> Budget:
    """The user's as it is, since it may be that of a larger machine, else this machine's."""
    if options.memory_limit_bytes is not None:
        return Budget(options.memory_limit_bytes, "as given")
    return detect_budget(read_system_memory(), None)


def recommend_model(
    asked_as: str, model: Model, options: Options, limit_bytes: int, backend: Backend
) -> Recommendation:
    """The best of what `options` ask for that fits `model` within the limit, or what does instead.

    ModelError where it cannot be estimated.
    """
    quantization = model.quantization(options.quantize)
    choice = choose_configs(model, dataclasses.replace(options, benchmark=True, optimize=False))
    source = model.source(quantization, choice.lora_keys)
    asked = _asked(model, choice, options, limit_bytes)
    estimates = [estimate_trial(each, source, backend, recipe=choice.recipe) for each in asked]
    judged = [judge(each, limit_bytes) for each in estimates]
    best = max(range(len(asked)), key=lambda index: (-_ORDER.index(judged[index]), index))
    found = Recommendation(
        asked_as=asked_as,
        name=model.name,
        parameters=_parameters(model),
        config=asked[best],
        quantization=quantization,
        estimate=estimates[best],
        verdict=judged[best],
    )
    if found.verdict is not Verdict.NO:
        return found
    nearest = functools.partial(
        nearest_fits, source, asked[0], limit_bytes, backend=backend, recipe=choice.recipe
    )
    fits = nearest(is_cautious=True) or nearest()
    return _changed(found, fits[0], estimates[0], limit_bytes) if fits else found


def _asked(
    model: Model, choice: ConfigChoice, options: Options, limit_bytes: int
) -> list[LoraConfig]:
    """The configurations that were asked for, lightest first: what flags leave open is safe."""
    depth = read_architecture_shapes(model.architecture).num_hidden_layers
    effective = choice.effective_batch_size
    safe = safe_config(
        _parameters(model),
        limit_bytes,
        depth=depth,
        like=choice.checked(model, is_before_sweep=False),
    )
    safe = evenly_accumulated(safe, effective)
    axes: dict[str, tuple[Any, ...]] = {axis.name: (axis.of(safe),) for axis in AXES}
    axes |= options.axes
    if effective is not None:
        axes[BATCH_SIZE.name] = dividing(axes[BATCH_SIZE.name], effective)
    return combinations(axes, depth, None, effective)


def _parameters(model: Model) -> float:
    return model.parameters or float(read_architecture_shapes(model.architecture).parameters)


def _changed(
    asked: Recommendation, fit: NearestFit, estimate: MemoryEstimate, limit_bytes: int
) -> Recommendation:
    return dataclasses.replace(
        asked,
        config=fit.config,
        quantization=fit.quantization,
        estimate=fit.estimate,
        verdict=judge(fit.estimate, limit_bytes),
        instead=fit,
        asked_bytes=estimate.minimum_bytes,
    )


_ORDER = tuple(Verdict)
"""Best first."""


def judge(estimate: MemoryEstimate, limit_bytes: int) -> Verdict:
    """The verdict within `limit_bytes`, with the safety margin of measured trials."""
    if estimate.conservative_bytes * SAFETY_MARGIN <= limit_bytes:
        return Verdict.FITS
    return Verdict.TIGHT if estimate.minimum_bytes * SAFETY_MARGIN <= limit_bytes else Verdict.NO

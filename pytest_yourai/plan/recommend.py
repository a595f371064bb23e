"""Which models fit, by estimate alone: nothing is run, and MLX is not needed."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pytest_yourai.core.axes import AXIS_BY_NAME, SIZES
from pytest_yourai.core.config import SAFETY_MARGIN, LoraConfig, Quantization
from pytest_yourai.core.device import Backend
from pytest_yourai.core.errors import ModelError, OptionError
from pytest_yourai.core.files import check_writable, write_json
from pytest_yourai.core.paths import packaged_models
from pytest_yourai.core.units import GB, gigabytes, machine_memory, parameters
from pytest_yourai.estimate.training_memory import MemoryEstimate, estimate_trial, usual_backend
from pytest_yourai.machine.budget import Budget, detect_budget
from pytest_yourai.machine.environment import chip
from pytest_yourai.machine.system_memory import read_system_memory
from pytest_yourai.models.architecture import read_architecture_shapes
from pytest_yourai.models.presets import read_presets
from pytest_yourai.models.resolve import Model, NamedModel, resolve
from pytest_yourai.plan.config_choice import choose_configs
from pytest_yourai.plan.matrix import accumulated, evenly_accumulated
from pytest_yourai.plan.options import Options
from pytest_yourai.plan.safe_table import safe_config
from pytest_yourai.store.profile import OUTPUT_FLAG
from pytest_yourai.store.rows import configuration

SCHEMA_VERSION = 1

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
    """One model, its safe configuration, and what that is estimated to need.

    `asked_as` is the preset's name, or the folder as the user wrote it.
    """

    asked_as: str
    name: str
    parameters: float
    config: LoraConfig
    quantization: Quantization | None
    estimate: MemoryEstimate
    verdict: Verdict

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
    models that cannot be estimated to the reason; `own_list` is the user's list of presets, if any.
    """

    budget: Budget
    machine: str | None
    backend: Backend
    models: tuple[Recommendation, ...]
    left_out: Mapping[str, str] = field(default_factory=dict)
    own_list: Path | None = None
    recipe_flags: tuple[str, ...] = ()
    """Flags for a command that trains as was estimated."""

    @property
    def largest_that_fits(self) -> Recommendation | None:
        """The one with most parameters that fits; if none does, of those that are tight."""
        return max(
            (model for model in self.models if model.verdict is not Verdict.NO),
            key=lambda model: (model.verdict is Verdict.FITS, model.parameters),
            default=None,
        )


def recommend(options: Options) -> Recommendations:
    """Estimates for the models that `options` name, or for all presets.

    Models that cannot be estimated are left out; InputError if that leaves none.
    """
    for name, values in options.axes.items():
        if len(values) > 1:
            flag = f"--yourai-{AXIS_BY_NAME[name].flag}"
            raise OptionError(f"{flag}: --yourai-recommend takes one value: name one")
    presets = read_presets(options.presets)
    named = options.models or [NamedModel(name, Path(name)) for name in presets]
    backend = usual_backend()
    system, machine = read_system_memory(), None
    if options.memory_limit_bytes is not None:
        # Taken as it is: a user may ask about a larger machine.
        budget = Budget(options.memory_limit_bytes, "as given")
    else:
        budget = detect_budget(system, None)
        machine = f"{chip()}, {machine_memory(system.total_bytes)}"
    models: list[Recommendation] = []
    problems: dict[str, ModelError] = {}
    for each in named:
        try:
            model = resolve(each.name, each.folder, options.weights, presets, options.quantize)
            models.append(_recommendation(each.name, model, options, budget, backend))
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
        own_list=None if options.presets == packaged_models() else options.presets,
        recipe_flags=options.recipe_flags,
    )


def _recommendation(
    asked_as: str,
    model: Model,
    options: Options,
    budget: Budget,
    backend: Backend,
) -> Recommendation:
    shapes = read_architecture_shapes(model.architecture)
    count = model.parameters or float(shapes.parameters)
    quantization = model.quantization(options.quantize)
    choice = choose_configs(model, dataclasses.replace(options, benchmark=True, optimize=False))
    config = safe_config(
        count,
        budget.limit_bytes,
        depth=shapes.num_hidden_layers,
        like=choice.checked(model, is_before_sweep=False),
    )
    sizes = {axis.name: options.axes[axis.name][0] for axis in SIZES if axis.name in options.axes}
    effective = choice.effective_batch_size
    config = dataclasses.replace(evenly_accumulated(config, effective), **sizes)
    config = accumulated(config, effective)
    source = model.source(quantization, choice.lora_keys)
    estimate = estimate_trial(config, source, backend, recipe=choice.recipe)
    return Recommendation(
        asked_as=asked_as,
        name=model.name,
        parameters=count,
        config=config,
        quantization=quantization,
        estimate=estimate,
        verdict=judge(estimate, budget.limit_bytes),
    )


def judge(estimate: MemoryEstimate, limit_bytes: int) -> Verdict:
    """The verdict within `limit_bytes`, with the safety margin of measured trials."""
    if estimate.conservative_bytes * SAFETY_MARGIN <= limit_bytes:
        return Verdict.FITS
    return Verdict.TIGHT if estimate.minimum_bytes * SAFETY_MARGIN <= limit_bytes else Verdict.NO


def document(found: Recommendations) -> dict[str, Any]:
    """The JSON document of a file of estimates."""
    return {
        "schema_version": SCHEMA_VERSION,
        "estimates_only": True,
        "memory_limit_gb": found.budget.limit_bytes / GB,
        "memory_limit_is_detected": found.budget.is_detected,
        "backend": found.backend,
        "models": [_row(model) for model in found.models],
        "left_out": dict(found.left_out),
    }


def _row(model: Recommendation) -> dict[str, Any]:
    return {
        "name": model.name,
        "params": parameters(model.parameters),
        "verdict": model.verdict.value,
        "limited_by": model.limited_by,
        "minimum_memory_bytes": model.estimate.minimum_bytes,
        "conservative_memory_bytes": model.estimate.conservative_bytes,
        **dataclasses.asdict(model.estimate),
        **configuration(model.config),
        "quantization_bits": model.quantization and model.quantization.bits,
    }


def write(path: Path, found: Recommendations) -> None:
    """Write atomically; OutputError where that fails."""
    check_writable(path, OUTPUT_FLAG)
    write_json(path, document(found), OUTPUT_FLAG)

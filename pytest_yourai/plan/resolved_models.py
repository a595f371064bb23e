"""The first step of planning: from the names of models to models, each under a name of its own."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Container, Mapping
from dataclasses import dataclass
from pathlib import Path

from pytest_yourai.core.errors import ModelError, UnavailableError
from pytest_yourai.core.labels import id_name
from pytest_yourai.core.results import Outcome
from pytest_yourai.core.units import parameter_count
from pytest_yourai.models.presets import Preset
from pytest_yourai.models.resolve import Model, NamedModel, default_max_seq_length, resolve
from pytest_yourai.plan.options import Options


@dataclass(frozen=True)
class StageProblem:
    """Why a model cannot be tried, known before the run."""

    outcome: Outcome
    reason: str

    @classmethod
    def of(cls, problem: ModelError) -> StageProblem:
        """The outcome of a model that `problem` rules out."""
        is_missing = isinstance(problem, UnavailableError)
        return cls(Outcome.UNAVAILABLE if is_missing else Outcome.ERROR, str(problem))


@dataclass(frozen=True)
class ResolvedModel:
    """A model under a name of its own; `model` is None if there is a `problem`.

    `asked_as` is the user's name for it, `parameters` their number, None if it is unknown.
    """

    name: str
    asked_as: str
    title: str
    parameters: float | None
    default_max_seq_length: int
    model: Model | None
    problem: StageProblem | None = None


def resolve_models(options: Options, presets: Mapping[str, Preset]) -> list[ResolvedModel]:
    """The models that were named, in their order; else the presets of a walk.

    ModelError if a named one is missing; a preset of a walk has a problem then.
    """
    walked = [NamedModel(name, Path(name)) for name, each in presets.items() if each.in_walk]
    found: list[ResolvedModel] = []
    for named in options.models or walked:
        taken = {each.name for each in found}
        try:
            model = resolve(named.name, named.folder, options.weights, presets)
        except ModelError as problem:
            if options.models:
                raise
            found.append(_unresolved(named, presets, problem, taken))
        else:
            model = dataclasses.replace(model, name=_unique_name(model.name, taken))
            found.append(resolved(named.name, model))
    return found


def resolved(asked_as: str, model: Model) -> ResolvedModel:
    """`model`, which the user calls `asked_as`."""
    return ResolvedModel(
        name=model.name,
        asked_as=asked_as,
        title=model.title,
        parameters=model.parameters,
        default_max_seq_length=model.default_max_seq_length,
        model=model,
    )


def _unresolved(
    named: NamedModel,
    presets: Mapping[str, Preset],
    problem: ModelError,
    taken: Container[str],
) -> ResolvedModel:
    preset = presets[named.name]
    return ResolvedModel(
        name=_unique_name(id_name(preset.name), taken),
        asked_as=named.name,
        title=preset.title,
        parameters=_size(named, presets),
        default_max_seq_length=default_max_seq_length(preset),
        model=None,
        problem=StageProblem.of(problem),
    )


def _size(named: NamedModel, presets: Mapping[str, Preset]) -> float | None:
    """Number of parameters of a preset that cannot be tried: as it states, else by its shapes."""
    params = presets[named.name].params
    if params is not None:
        return parameter_count(params)
    try:
        return resolve(named.name, named.folder, "synthetic", presets).parameters
    except ModelError:
        return None


def _unique_name(name: str, taken: Container[str]) -> str:
    """`name`, or NAME-2 for a second model of the same name."""
    names = itertools.chain([name], (f"{name}-{number}" for number in itertools.count(2)))
    return next(each for each in names if each not in taken)

"""The first step of planning: from the names of models to models, each under a name of its own."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Container, Mapping
from dataclasses import dataclass
from pathlib import Path

from pytest_yourai.core.errors import ModelError, UnavailableError
from pytest_yourai.core.outcomes import Outcome
from pytest_yourai.models.model import Model, NamedModel
from pytest_yourai.models.presets import Preset
from pytest_yourai.models.resolve import resolve
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
    """A model under a name of its own; `asked_as` is the user's name for it.

    If there is a `problem`, the model is known only as far as its preset describes it.
    """

    asked_as: str
    model: Model
    problem: StageProblem | None = None


def resolve_models(options: Options, presets: Mapping[str, Preset]) -> list[ResolvedModel]:
    """The models that were named, in their order; else the presets of a walk.

    ModelError if a named one is missing; a preset of a walk has a problem then.
    """
    walked = [
        NamedModel(name, Path(name))
        for name, each in presets.items()
        if each.walk or options.walks_all
    ]
    found: list[ResolvedModel] = []
    for named in options.models or walked:
        problem = None
        try:
            model = resolve(named.name, named.folder, options.weights, presets, options.quantize)
        except ModelError as refused:
            if options.models:
                raise
            problem = StageProblem.of(refused)
            model = _described(named, presets)
        name = _unique_name(model.name, {each.model.name for each in found})
        found.append(ResolvedModel(named.name, dataclasses.replace(model, name=name), problem))
    return found


def _described(named: NamedModel, presets: Mapping[str, Preset]) -> Model:
    """The model of a preset that cannot be tried, with its architecture if that is known."""
    try:
        return resolve(named.name, named.folder, "synthetic", presets)
    except ModelError:
        return Model.known(named.name, presets[named.name])


def _unique_name(name: str, taken: Container[str]) -> str:
    """`name`, or NAME-2 for a second model of the same name."""
    names = itertools.chain([name], (f"{name}-{number}" for number in itertools.count(2)))
    return next(each for each in names if each not in taken)

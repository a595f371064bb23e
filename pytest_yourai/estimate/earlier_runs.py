"""What earlier runs on this machine taught, as a prior for the next run of a kind of trial.

Kept apart is whatever has errors of its own: backend, kind of model, kind of recipe. Within such a
kind a model that was measured before starts with its own factors. To another model they say little:
of the variance of a factor about 1, models of a kind share a quarter at most (in
tests/data/floors_*.json a larger share makes predictions of models that were left out worse). So
their common part is estimated with random effects, which shrinks it towards 1 by how little was
seen (C. R. Henderson, Biometrics 31, 1975: best linear unbiased prediction).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from pytest_yourai.core.config import LoraConfig
from pytest_yourai.core.device import Backend
from pytest_yourai.core.errors import ModelError
from pytest_yourai.estimate.calibration import Calibration
from pytest_yourai.models.architecture_reader import read_architecture_shapes
from pytest_yourai.models.config_keys import element_bytes, flat_config
from pytest_yourai.models.identity import digest
from pytest_yourai.models.source import ModelSource

_SHARED = 0.25
"""Share of a factor's variance that models of a kind have in common."""

_MOST_OFF = 2.0
"""Widths at which another model's factor is cut off, so that a strange one has little weight."""

_MOST_SHARED_FACTOR = 1.25

_LEAST_OWN_SHARE = 0.5
"""Least width of a model's own factors, as a share of the usual one: conditions change."""


@dataclass(frozen=True)
class EarlierRuns:
    """Calibrations of one kind of trial: of the model itself, and of others of its kind."""

    own: Calibration | None = None
    others: tuple[Calibration, ...] = ()

    def prior(self, relative_error: float) -> Calibration:
        """What to start with, for estimates that are off by `relative_error`."""
        usual = Calibration().for_estimates_off_by(relative_error)
        if self.own is not None:
            return kept(self.own, relative_error)
        return _shared(self.others, usual) if self.others else usual


def earlier_runs(
    lessons: Mapping[str, Mapping[str, Calibration]], model: str
) -> dict[str, EarlierRuns]:
    """For `model`, by kind of recipe, of calibrations by kind of recipe and model."""
    return {
        recipe: EarlierRuns(
            own=learned.get(model),
            others=tuple(learned[name] for name in sorted(learned) if name != model),
        )
        for recipe, learned in lessons.items()
    }


def kept(learned: Calibration, relative_error: float) -> Calibration:
    """`learned` for a later run of the model, which may differ in what is not told apart."""
    usual = np.array(Calibration().for_estimates_off_by(relative_error).widths)
    widths = np.clip(learned.widths, _LEAST_OWN_SHARE * usual, usual)
    return Calibration(learned.factors, tuple(map(float, widths)), learned.trials)


def _shared(others: tuple[Calibration, ...], usual: Calibration) -> Calibration:
    """The common part of the factors of `others`, as far as it can be known.

    A model's fit has shrunk its factors to `reliability` of what is right; a model whose trials
    said nothing of a component has no say in its factor.
    """
    width = np.array(usual.widths)
    off = np.clip([(np.array(each.factors) - 1) / width for each in others], -_MOST_OFF, _MOST_OFF)
    left = np.clip([np.array(each.widths) / width for each in others], 0.0, 1.0)
    reliability = 1 - left**2
    alone = 1 - _SHARED * reliability
    precision = 1 / _SHARED + (reliability / alone).sum(axis=0)
    factors = 1 + width * (off / alone).sum(axis=0) / precision
    bounded = np.clip(factors, 1 / _MOST_SHARED_FACTOR, _MOST_SHARED_FACTOR)
    widths = width * np.sqrt(1 - _SHARED + 1 / precision)
    trials = sum(each.trials for each in others)
    return Calibration(tuple(map(float, bounded)), tuple(map(float, widths)), trials)


def kind_of_model(source: ModelSource, backend: Backend) -> str:
    """Name of what `source` has in common with models whose estimates are off alike.

    That is the backend, the type, the numbers' format, and the power of ten of the parameters:
    what a step takes beside its arrays counts for more the smaller these are.
    """
    flat = flat_config(source.architecture)
    quantization = source.quantization or f"{8 * element_bytes(flat)}-bit float"
    return f"{backend} {flat.get('model_type')} {quantization} {_magnitude(source)}"


def _magnitude(source: ModelSource) -> str:
    try:
        parameters = read_architecture_shapes(source.architecture).parameters
    except ModelError:
        return "unknown"
    return f"1e{int(math.log10(parameters))}"


def kind_of_recipe(config: LoraConfig) -> str:
    """Name of what trials have in common whose estimates are off alike."""
    kinds = {
        "dropout": config.dropout > 0,
        "accumulated": config.grad_accumulation_steps > 1,
        "checkpointed": config.grad_checkpoint,
    }
    names = (name for name, is_on in kinds.items() if is_on)
    return " ".join((config.fine_tune_type, config.optimizer, config.lora_keys, *names))


def identity_of_shapes(source: ModelSource) -> str:
    """The same for all models that need the same memory, whatever their weights and names."""
    return digest([source.architecture, str(source.quantization)])

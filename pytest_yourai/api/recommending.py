"""Whether a model fits, by estimate: nothing is run."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable, Mapping
from typing import Any, Literal, get_args

from pytest_yourai.api.arguments import named_as_arguments, options_of
from pytest_yourai.core.device import Backend
from pytest_yourai.core.errors import OptionError
from pytest_yourai.machine.environment import installed_backend
from pytest_yourai.models.model import Model
from pytest_yourai.models.presets import read_presets
from pytest_yourai.models.resolve import resolve
from pytest_yourai.plan.options import Options
from pytest_yourai.plan.recommend import find_budget, recommend_model
from pytest_yourai.plan.recommendation import Recommendation

_Path = str | os.PathLike[str]


def recommend(
    model: _Path | Mapping[str, Any],
    *,
    memory_gb: float | None = None,
    backend: Backend | None = None,
    batch_size: int | Iterable[int] | None = None,
    rank: int | Iterable[int] | None = None,
    num_layers: int | Literal["all"] | Iterable[int | Literal["all"]] | None = None,
    max_seq_length: int | Iterable[int] | None = None,
    grad_checkpoint: bool | None = None,
    fine_tune_type: str | Iterable[str] | None = None,
    optimizer: str | Iterable[str] | None = None,
    lora_keys: str | Iterable[str] | None = None,
    dropout: float | None = None,
    grad_accumulation_steps: int | Iterable[int] | None = None,
    effective_batch_size: int | None = None,
    quantize: int | Literal["none"] | None = None,
    weights: Literal["auto", "local", "hub", "synthetic"] | None = None,
    models: _Path | None = None,
    config: _Path | None = None,
    hosts: int | _Path | None = None,
    hosts_backend: Literal["ring", "nccl", "jaccl", "jaccl-ring", "mpi"] | None = None,
    link_gbit: float | None = None,
    profile: _Path | None = None,
) -> Recommendation:
    """What of a model fits into `memory_gb` GB (1e9 bytes), by estimate.

    `model` is a preset, a folder, owner/name, or a config.json mapping; the budget of this machine
    is detected where none is given, and `backend` is the one that is installed. What is left open
    is chosen to be safe. With `hosts`, a number of ranks or a hostfile, it is of one rank, and
    `scaling` says what several machines would be worth: by memory, and by time where `profile` is
    the file of a sweep on one of them. Where nothing of what was asked for fits, the nearest that
    does is `instead`. InputError where the model or an argument cannot be used.
    """
    arguments = dict(locals())
    if backend not in (None, *get_args(Backend)):
        raise OptionError(f"backend: {backend!r} must be one of {', '.join(get_args(Backend))}")
    named = None if isinstance(model, Mapping) else model
    with named_as_arguments():
        options = options_of({**arguments, "model": named, "backend": None})
        return recommend_model(
            str(os.fspath(named)) if named is not None else _MADE.name,
            _described(model) if isinstance(model, Mapping) else _resolved(options),
            options,
            find_budget(options).limit_bytes,
            backend or installed_backend(),
        )


_MADE = Model.known("model")


def _described(architecture: Mapping[str, Any]) -> Model:
    return dataclasses.replace(_MADE, architecture=architecture)


def _resolved(options: Options) -> Model:
    [named] = options.models
    presets = read_presets(options.presets)
    return resolve(named.name, named.folder, options.weights, presets, options.quantize)

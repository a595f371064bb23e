"""Tiny configurations of the model types that the installed mlx-lm has, and what trains of them."""

from __future__ import annotations

import dataclasses
import functools
import gc
import importlib
import pkgutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx_lm.models
import yaml

from pytest_yourai.core.config import LoraConfig, StepPlan
from pytest_yourai.core.cycles import TrialSteps
from pytest_yourai.core.errors import ModelError
from pytest_yourai.core.module_sets import members
from pytest_yourai.core.recipe import MLX_LM_DEFAULTS
from pytest_yourai.estimate.followed_step import estimate_of
from pytest_yourai.models.source import Inspection, ModelSource, Wanted
from pytest_yourai.sweep.validity import why_not_valid
from pytest_yourai.worker.engine import weights
from pytest_yourai.worker.engine.examination import examine
from pytest_yourai.worker.engine.mlx_engine import MlxEngine
from pytest_yourai.worker.protocol import StepSample, TrialEvent, TrialRequest

NUMBERS = Path(__file__).parents[1] / "data" / "model_types.yaml"

KEYS = ("qkvo", "all")

LAYERS = 4
"""Of each model."""

ROWS = tuple((keys, layers) for keys in KEYS for layers in (1, LAYERS))

_PLAN = StepPlan(measured_steps=1, warmup_tolerance=100.0)

_LIMIT_BYTES = 10**10


@dataclasses.dataclass(frozen=True)
class Swept:
    """What trains of a model type, and which modules get adapters.

    `rows` has for each choice of keys and number of layers "ok", or why no step was trained.
    `limit` is why the model cannot be built, or not be trained at all.
    """

    model_type: str
    limit: str | None = None
    rows: Mapping[str, str] = dataclasses.field(default_factory=dict)
    modules: Mapping[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)
    has_qkvo: bool = True
    """False where no layer has a projection of attention: `qkvo` then stands for `all`."""
    without_qkvo: tuple[int, ...] = ()
    """The layers that have none."""

    @property
    def failed(self) -> list[str]:
        return [f"{row}: {end}" for row, end in self.rows.items() if end != "ok"]


def model_types() -> list[str]:
    """The modules of mlx-lm that have a model, or that cannot be imported here."""
    names = (each.name for each in pkgutil.iter_modules(mlx_lm.models.__path__))
    return [name for name in names if _keys(name) is not None]


def _keys(name: str) -> tuple[str, ...] | None:
    """What a type reads of a config.json; None for a module that is no model."""
    try:
        module = importlib.import_module(f"mlx_lm.models.{name}")
    except (ImportError, SystemExit):
        return ()
    if not (hasattr(module, "Model") and hasattr(module, "ModelArgs")):
        return None
    return tuple(field.name for field in dataclasses.fields(module.ModelArgs))


@functools.cache
def _numbers() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(NUMBERS.read_text(encoding="utf-8"))
    return found


def tiny(name: str) -> dict[str, Any]:
    """The configuration of the model type `name`, in float32."""
    usual, own = _numbers()["usual"], dict(_numbers()["own"].get(name, {}))
    if isinstance(own.get("text_config"), str):
        own["text_config"] = tiny(own["text_config"])
    read = {key: usual[key] for key in _keys(name) or () if key in usual}
    return {**read, "torch_dtype": "float32", **own, "model_type": name}


def sweep(name: str, rows: Sequence[tuple[str, int]] = ROWS) -> Swept:
    """Train the tiny model of a type: `rows` are choices of keys with numbers of last layers."""
    source = ModelSource(name, tiny(name), None, True, None, KEYS)
    configs = [LoraConfig(1, 4, layers, 17, lora_keys=keys) for keys, layers in rows]
    try:
        model = weights.lazily(source)
        wanted = Wanted.of(configs, MLX_LM_DEFAULTS)
        found = examine(model, source, weights.inspect(source, model), wanted)
    except ModelError as problem:
        return Swept(name, str(problem))
    engine = MlxEngine()
    engine.load(source)
    return Swept(
        name,
        rows={
            f"{each.lora_keys}, {each.num_layers} of {LAYERS} layers": _end(
                engine, source, found, each
            )
            for each in configs
        },
        modules=found.lora_keys,
        has_qkvo=bool(members("qkvo", found.module_layers.keys())),
        without_qkvo=found.layers_without_adapters(LoraConfig(1, 4, LAYERS, 17)),
    )


@dataclasses.dataclass(frozen=True)
class EstimateErrors:
    """How far the traced step of a tiny model is off: 0.02 is 2 % too high."""

    minimum: float
    peak: float
    exceeds_conservative: bool
    """True if the measured minimum was above the conservative estimate."""


def estimate_errors(name: str) -> EstimateErrors | None:
    """Of all layers and keys in rows of 64 tokens; None where the type is not trained or traced."""
    source = ModelSource(name, tiny(name), None, True, None, ("all",))
    config = LoraConfig(2, 8, LAYERS, 64, lora_keys="all")
    engine = MlxEngine()
    events: list[TrialEvent] = []
    try:
        wanted = Wanted.of([config], MLX_LM_DEFAULTS)
        [profile] = engine.inspect(source, None, wanted=wanted).steps.values()
        engine.load(source)
        plan = StepPlan(measured_steps=1)
        engine.run_trial(TrialRequest(config, plan, _LIMIT_BYTES, None), events.append)
    except Exception:  # noqa: BLE001 - the sweep says why it is not trained
        return None
    finally:
        del engine
        gc.collect()
        mx.clear_cache()
        mx.set_memory_limit(_LIMIT_BYTES)
    estimate = estimate_of(profile, config, "cpu")
    steps = [each for each in events if isinstance(each, StepSample)]
    warm = [each.peak_memory_bytes for each in steps if each.phase == "warmup"]
    free = [each.peak_memory_bytes for each in steps if each.phase != "warmup"]
    minimum = TrialSteps.of(plan, config).minimum_bytes(warm)
    return EstimateErrors(
        estimate.minimum_bytes / minimum - 1,
        estimate.peak_bytes / max(free) - 1,
        minimum > estimate.conservative_bytes,
    )


def _end(engine: MlxEngine, source: ModelSource, found: Inspection, config: LoraConfig) -> str:
    if skip := why_not_valid(config, found, None):
        return skip.reason
    # Compiled for the CPU by a C++ compiler, each model for itself: minutes in all.
    mx.disable_compile()
    try:
        engine.run_trial(TrialRequest(config, _PLAN, _LIMIT_BYTES, None), lambda _: None)
    except Exception as problem:  # noqa: BLE001 - whatever a model raises
        engine.load(source)
        return f"{type(problem).__name__}: {problem}"
    finally:
        mx.enable_compile()
    return "ok"

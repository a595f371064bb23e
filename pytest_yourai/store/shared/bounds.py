"""What a configuration of a shared file can need, by the model's own sizes and the estimate."""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path

from pytest_yourai.core.config import LoraConfig, Quantization
from pytest_yourai.core.errors import ModelError
from pytest_yourai.core.paths import packaged_models
from pytest_yourai.estimate.training_memory import estimate_trial
from pytest_yourai.models.model import Model
from pytest_yourai.models.presets import read_presets
from pytest_yourai.models.resolve import resolve
from pytest_yourai.store.shared.checks import Bounds
from pytest_yourai.store.shared.document import SharedProfile


def bounds_of(shared: SharedProfile, config: LoraConfig) -> Bounds | None:
    """The bounds of `config`; None for a model that is neither packaged nor cached."""
    how, ranks = shared.settings.quantization, shared.settings.world_size or 1
    quantization = Quantization(**how.as_json()) if how else None
    try:
        source = _model(shared.settings.model or shared.model).source(
            quantization, (config.lora_keys,)
        )
        of_rank = dataclasses.replace(config, batch_size=max(1, config.batch_size // ranks))
        environment = shared.environment
        found = estimate_trial(of_rank, source, environment.backend, environment.device or "")
    except ModelError:
        return None
    return Bounds(found.weights_bytes, found.conservative_bytes)


@functools.lru_cache
def _model(name: str) -> Model:
    return resolve(name, Path(name), "synthetic", read_presets(packaged_models()))

"""Gives a loaded model the weights back that a trial has trained."""

from __future__ import annotations

from collections.abc import Collection

import mlx.core as mx
from mlx import nn
from mlx.utils import tree_flatten

from pytest_yourai.models.source import ModelSource
from pytest_yourai.worker.engine import weights


def restore(model: nn.Module, source: ModelSource, names: Collection[str]) -> None:
    """Read or make the parameters called `names` once more, equal to the byte to those of a load.

    Nothing is kept for it meanwhile. Memory never holds more beyond the model than one module
    twice. ModelError where the files of `source` are gone.
    """
    fresh, wanted = weights.lazily(source), set(names)
    for number, (path, module) in enumerate(weights.leaf_modules(fresh)):
        own = {f"{path}.{key}" for key, _ in tree_flatten(module.parameters())} & wanted
        if own:
            weights.make(module, number, source)
            made = ((f"{path}.{key}", each) for key, each in tree_flatten(module.parameters()))
            model.load_weights([each for each in made if each[0] in own], strict=False)
            wanted -= own
    # Some modules hold parameters beside others.
    rest = [each for each in tree_flatten(fresh.parameters()) if each[0] in wanted]
    mx.eval([array for _, array in rest])
    model.load_weights(rest, strict=False)

"""The state that training resumes from, and adapters for mlx-lm: each written whole or not."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import mlx.core as mx
from mlx import nn
from mlx.optimizers import Optimizer
from mlx.utils import tree_flatten, tree_unflatten

from pytest_yourai.core.errors import ModelError, OutputError
from pytest_yourai.core.files import TEMPORARY_PREFIX, usual_mode
from pytest_yourai.worker.protocol import ADAPTERS, CHECKPOINT, METADATA_KEY

_MODEL, _OPTIMIZER, _RANDOM = "model.", "optimizer.", "random"


def save_adapters(folder: Path, model: nn.Module, step: int | None = None) -> None:
    """Save them under mlx-lm's names: those of a step, or the current ones."""
    name = ADAPTERS if step is None else f"{step:07d}_{ADAPTERS}"
    _write(folder / name, dict(tree_flatten(model.trainable_parameters())), {})


def save_checkpoint(
    folder: Path, model: nn.Module, optimizer: Optimizer, about: Mapping[str, Any]
) -> None:
    """Save trainable parameters, optimizer and random state; `about` describes the run."""
    random_state: Any = mx.random.state
    arrays = {
        **{_MODEL + name: array for name, array in tree_flatten(model.trainable_parameters())},
        **{_OPTIMIZER + name: array for name, array in tree_flatten(optimizer.state)},
        _RANDOM: random_state[0],
    }
    _write(folder / CHECKPOINT, arrays, {METADATA_KEY: json.dumps(about)})


def restore_checkpoint(folder: Path, model: nn.Module, optimizer: Optimizer) -> dict[str, Any]:
    """Put a checkpoint's state into an adapted model and a new optimizer; returns its metadata.

    ModelError where it cannot be read or does not fit the model.
    """
    path = folder / CHECKPOINT
    try:
        loaded: Any = mx.load(str(path), return_metadata=True)
        arrays, metadata = loaded
        about: dict[str, Any] = json.loads(metadata[METADATA_KEY])
    except (RuntimeError, ValueError, KeyError) as problem:
        raise ModelError(f"{path} cannot be read: {problem}") from None
    saved = _part(arrays, _MODEL)
    expected = {name: each.shape for name, each in tree_flatten(model.trainable_parameters())}
    if {name: each.shape for name, each in saved.items()} != expected:
        raise ModelError(f"{path} does not fit the model: its adapters have other names or shapes")
    model.load_weights(list(saved.items()), strict=False)
    optimizer.state = tree_unflatten(list(_part(arrays, _OPTIMIZER).items()))
    high, low = arrays[_RANDOM].tolist()
    # The state itself cannot be assigned; a seed of 64 bits becomes it as it is.
    mx.random.seed(high << 32 | low)
    mx.eval(model.trainable_parameters(), optimizer.state)
    return about


def remove_leftovers(folder: Path) -> None:
    """Remove the files of a process that ended while it wrote them."""
    for path in folder.glob(f"{TEMPORARY_PREFIX}*"):
        with contextlib.suppress(OSError):
            path.unlink()


def _part(arrays: Mapping[str, mx.array], prefix: str) -> dict[str, mx.array]:
    return {
        name.removeprefix(prefix): each for name, each in arrays.items() if name.startswith(prefix)
    }


def _write(path: Path, arrays: Mapping[str, mx.array], metadata: Mapping[str, str]) -> None:
    """Replace the file in one step; OutputError where it cannot be written."""
    try:
        # Under a name that was not there: another user may have put a link behind any other.
        handle, name = tempfile.mkstemp(path.suffix, TEMPORARY_PREFIX, path.parent)
        temporary = Path(name)
        try:
            os.fchmod(handle, usual_mode())
            mx.save_safetensors(name, dict(arrays), dict(metadata))
            os.fsync(handle)
            temporary.replace(path)
        finally:
            os.close(handle)
            temporary.unlink(missing_ok=True)
    except (OSError, RuntimeError) as problem:
        raise OutputError(f"{path} cannot be written ({problem}): make room there") from problem

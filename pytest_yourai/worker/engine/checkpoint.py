"""The state that training resumes from, and adapters for mlx-lm: each written whole or not."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import mlx.core as mx
from mlx import nn
from mlx.optimizers import Optimizer
from mlx.utils import tree_flatten, tree_unflatten

from pytest_yourai.core.errors import OutputError
from pytest_yourai.core.files import TEMPORARY_PREFIX, put_in_place, usual_mode
from pytest_yourai.worker.checkpoint_file import (
    ADAPTERS,
    CHECKPOINT,
    metadata_of,
    read_run,
    refusal,
    replace_checkpoint,
    seal,
)
from pytest_yourai.worker.engine import distributed

_MODEL, _OPTIMIZER, _RANDOM = "model.", "optimizer.", "random"


def save_adapters(folder: Path, model: nn.Module, step: int | None = None) -> None:
    """Save them under mlx-lm's names: those of a step, or the current ones."""
    name = ADAPTERS if step is None else f"{step:07d}_{ADAPTERS}"
    _write(folder / name, dict(tree_flatten(model.trainable_parameters())), {}, put_in_place)


def save_checkpoint(
    folder: Path,
    model: nn.Module,
    optimizer: Optimizer,
    about: Mapping[str, Any],
    random: mx.array | None = None,
) -> None:
    """Save trainable parameters, optimizer and random state; `about` describes the run.

    `random` is that state where it was another than the current one when `about` was true.
    """
    state = _state(model, optimizer)
    if random is not None:
        state[_RANDOM] = random
    _write(folder / CHECKPOINT, state, metadata_of(json.dumps(about)), _sealed)


def restore_checkpoint(
    folder: Path, model: nn.Module, optimizer: Optimizer, reader: int = 0
) -> dict[str, Any]:
    """Put a checkpoint's state into an adapted model and a new optimizer; returns its metadata.

    Of several ranks `reader` alone reads the file, and the others get its content from that one.

    CheckpointError, with a remedy, where it is damaged or does not fit the model.
    """
    optimizer.init(model.trainable_parameters())
    arrays: Any = _state(model, optimizer)
    run = ""
    if distributed.rank() == reader:
        run, arrays = _read(folder / CHECKPOINT, arrays)
    about: dict[str, Any] = json.loads(distributed.text_of(reader, run))
    arrays = distributed.arrays_of(reader, arrays)
    model.load_weights(list(_part(arrays, _MODEL).items()), strict=False)
    optimizer.state = tree_unflatten(list(_part(arrays, _OPTIMIZER).items()))
    high, low = arrays[_RANDOM].tolist()
    # The state itself cannot be assigned; a seed of 64 bits becomes it as it is.
    mx.random.seed(high << 32 | low)
    mx.eval(model.trainable_parameters(), optimizer.state)
    return about


def _read(path: Path, expected: Mapping[str, mx.array]) -> tuple[str, dict[str, mx.array]]:
    """The JSON of the run, and its arrays, which are like those that are expected."""
    run = read_run(path)
    try:
        arrays: Any = mx.load(str(path))
    except (RuntimeError, ValueError) as problem:
        raise refusal(path, str(problem)) from None
    if difference := _difference(arrays, expected):
        raise refusal(path, f"it does not fit this run: {difference}")
    return run, arrays


def remove_leftovers(folder: Path) -> None:
    """Remove the files of a process that ended while it wrote them."""
    for path in folder.glob(f"{TEMPORARY_PREFIX}*"):
        with contextlib.suppress(OSError):
            path.unlink()


def random_state() -> mx.array:
    """The state of MLX's generator, which dropout draws from."""
    state: Any = mx.random.state
    return state[0]  # type: ignore[no-any-return]


def _state(model: nn.Module, optimizer: Optimizer) -> dict[str, mx.array]:
    return {
        **{_MODEL + name: array for name, array in tree_flatten(model.trainable_parameters())},
        **{_OPTIMIZER + name: array for name, array in tree_flatten(optimizer.state)},
        _RANDOM: random_state(),
    }


def _difference(found: Mapping[str, mx.array], expected: Mapping[str, mx.array]) -> str | None:
    """The first array whose name, shape or type is another than expected, in words."""
    for name in sorted(found.keys() | expected.keys()):
        if name not in found:
            return f"it has no {name}"
        if name not in expected:
            return f"its {name} is not in this run"
        there, wanted = (_kind(arrays[name]) for arrays in (found, expected))
        if there != wanted:
            return f"its {name} has {there} instead of {wanted}"
    return None


def _kind(array: mx.array) -> str:
    return f"{str(array.dtype).rpartition('.')[2]} {list(array.shape)}"


def _part(arrays: Mapping[str, mx.array], prefix: str) -> dict[str, mx.array]:
    return {
        name.removeprefix(prefix): each for name, each in arrays.items() if name.startswith(prefix)
    }


def _sealed(temporary: Path, path: Path) -> None:
    seal(temporary)
    replace_checkpoint(temporary, path)


def _write(
    path: Path,
    arrays: Mapping[str, mx.array],
    metadata: Mapping[str, str],
    put: Callable[[Path, Path], None],
) -> None:
    """Replace the file in one step, `put`; OutputError where it cannot be written."""
    try:
        # Under a name that was not there: another user may have put a link behind any other.
        handle, name = tempfile.mkstemp(path.suffix, TEMPORARY_PREFIX, path.parent)
        temporary = Path(name)
        try:
            os.fchmod(handle, usual_mode())
            mx.save_safetensors(name, dict(arrays), dict(metadata))
            put(temporary, path)
        finally:
            os.close(handle)
            temporary.unlink(missing_ok=True)
    except (OSError, RuntimeError) as problem:
        raise OutputError(f"{path} cannot be written ({problem}): make room there") from problem

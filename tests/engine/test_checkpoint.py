"""What a checkpoint keeps, and that it is written whole or not at all."""

from __future__ import annotations

import json
import random
import resource
import shlex
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlx.core as mx
import pytest
from mlx import nn, optimizers
from mlx.utils import tree_flatten
from safetensors import safe_open

from pytest_yourai.core.errors import CheckpointError, OutputError
from pytest_yourai.worker.checkpoint_file import (
    ADAPTERS,
    CHECKPOINT,
    METADATA_KEY,
    PREVIOUS,
    metadata_of,
    read_run,
    seal,
)
from pytest_yourai.worker.engine import checkpoint


def trained(width: int = 4) -> tuple[nn.Module, optimizers.Adam]:
    """A small model after two steps."""
    mx.random.seed(5)
    model, optimizer = nn.Linear(3, width), optimizers.Adam(learning_rate=0.1)
    for _ in range(2):
        gradients = nn.value_and_grad(model, lambda x: (model(x) ** 2).sum())(mx.ones((2, 3)))[1]
        optimizer.update(model, gradients)
    mx.eval(model.parameters(), optimizer.state)
    return model, optimizer


def state(model: nn.Module, optimizer: optimizers.Adam) -> dict[str, object]:
    return {
        name: array.tolist()
        for name, array in (*tree_flatten(model.parameters()), *tree_flatten(optimizer.state))
    }


def test_weights_optimizer_and_random_state_come_back(tmp_path: Path) -> None:
    model, optimizer = trained()
    checkpoint.save_checkpoint(tmp_path, model, optimizer, {"step": 2})
    expected, drawn = state(model, optimizer), mx.random.uniform(shape=(3,)).tolist()
    other, fresh = nn.Linear(3, 4), optimizers.Adam(learning_rate=0.5)
    mx.random.seed(99)
    assert checkpoint.restore_checkpoint(tmp_path, other, fresh) == {"step": 2}
    assert state(other, fresh) == expected
    assert mx.random.uniform(shape=(3,)).tolist() == drawn


def test_its_metadata_says_what_the_run_is(tmp_path: Path) -> None:
    checkpoint.save_checkpoint(tmp_path, *trained(), {"step": 7, "data": None})
    with safe_open(tmp_path / CHECKPOINT, framework="numpy") as file:
        metadata = file.metadata()
    assert json.loads(metadata[METADATA_KEY]) == {"step": 7, "data": None}


Mutant = Callable[[dict[str, mx.array], dict[str, str]], object]


def mutate(folder: Path, mutant: Mutant, *, sealed: bool = False) -> None:
    """Change tensors or metadata of the checkpoint; with a digest of its own if `sealed`."""
    loaded: Any = mx.load(str(folder / CHECKPOINT), return_metadata=True)
    arrays, metadata = loaded
    mx.eval(arrays)
    if sealed:
        metadata |= metadata_of(metadata[METADATA_KEY])
    mutant(arrays, metadata)
    mx.save_safetensors(str(folder / CHECKPOINT), arrays, metadata)
    if sealed:
        seal(folder / CHECKPOINT)


def with_array(name: str, change: Callable[[mx.array], mx.array]) -> Mutant:
    return lambda arrays, _: arrays.update({name: change(arrays[name])})


def without(prefix: str) -> Mutant:
    def mutant(arrays: dict[str, mx.array], _: dict[str, str]) -> None:
        for name in [each for each in arrays if each.startswith(prefix)]:
            del arrays[name]

    return mutant


CHANGED_SHAPES: dict[str, tuple[Mutant, str]] = {
    "adapters in float16": (
        with_array("model.weight", lambda array: array.astype(mx.float16)),
        r"its model.weight has float16 \[4, 3\] instead of float32 \[4, 3\]",
    ),
    "optimizer of another shape": (
        with_array("optimizer.weight.v", lambda _: mx.zeros((1,))),
        r"its optimizer.weight.v has float32 \[1\] instead of",
    ),
    "optimizer of one parameter": (without("optimizer.bias"), "it has no optimizer.bias.m"),
    "no optimizer": (without("optimizer"), "it has no optimizer.bias.m"),
    "no second moment": (without("optimizer.weight.v"), "it has no optimizer.weight.v"),
    "no random state": (without("random"), "it has no random"),
    "three words of random state": (
        with_array("random", lambda _: mx.zeros((3,), mx.uint32)),
        r"its random has uint32 \[3\] instead of",
    ),
    "one more": (lambda arrays, _: arrays.update(more=mx.zeros((1,))), "its more is not in this"),
}

CHANGED_VALUES: dict[str, Mutant] = {
    "a weight": with_array("model.weight", lambda array: array + 1e30),
    "a bit": with_array("random", lambda array: array ^ mx.array([0, 1], mx.uint32)),
    "the step": lambda _, metadata: metadata.update({METADATA_KEY: '{"step": 7}'}),
    "the digest": lambda _, metadata: metadata.update(sha256="1" * 64),
    "no digest": lambda _, metadata: metadata.pop("sha256"),
    "a digest of no digits": lambda _, metadata: metadata.update(sha256=""),
}


@pytest.mark.parametrize("mutant", CHANGED_SHAPES)
def test_other_names_shapes_and_types_are_named(tmp_path: Path, mutant: str) -> None:
    model, optimizer = trained()
    checkpoint.save_checkpoint(tmp_path, model, optimizer, {"step": 2})
    expected = state(model, optimizer)
    change, message = CHANGED_SHAPES[mutant]
    mutate(tmp_path, change, sealed=True)
    with pytest.raises(CheckpointError, match=f"does not fit this run: {message}.*; name another"):
        checkpoint.restore_checkpoint(tmp_path, model, optimizer)
    assert state(model, optimizer) == expected


@pytest.mark.parametrize("mutant", [*CHANGED_SHAPES, *CHANGED_VALUES])
def test_whatever_is_changed_is_noticed(tmp_path: Path, mutant: str) -> None:
    checkpoint.save_checkpoint(tmp_path, *trained(), {"step": 2})
    mutate(tmp_path, CHANGED_VALUES.get(mutant) or CHANGED_SHAPES[mutant][0])
    with pytest.raises(CheckpointError, match=r"does not match its sha256|did not write it"):
        checkpoint.restore_checkpoint(tmp_path, *trained())


def test_every_flipped_bit_and_every_missing_end_is_noticed(tmp_path: Path) -> None:
    checkpoint.save_checkpoint(tmp_path, *trained(), {"step": 2})
    path = tmp_path / CHECKPOINT
    content = path.read_bytes()
    chooser = random.Random(4)
    for place in range(len(content)):
        flipped = bytearray(content)
        flipped[place] ^= 1 << chooser.randrange(8)
        path.write_bytes(flipped)
        with pytest.raises(CheckpointError):
            read_run(path)
        path.write_bytes(content[:place])
        with pytest.raises(CheckpointError):
            read_run(path)
    path.write_bytes(content + b"\0")
    with pytest.raises(CheckpointError):
        read_run(path)
    path.write_bytes(content)
    assert json.loads(read_run(path)) == {"step": 2}


def test_one_of_another_model_is_refused(tmp_path: Path) -> None:
    checkpoint.save_checkpoint(tmp_path, *trained(), {"step": 2})
    with pytest.raises(CheckpointError, match="does not fit this run: its model.bias"):
        checkpoint.restore_checkpoint(tmp_path, *trained(width=5))


def test_the_one_before_is_the_remedy(tmp_path: Path) -> None:
    model, optimizer = trained()
    for step in (5, 10, 15):
        checkpoint.save_checkpoint(tmp_path, model, optimizer, {"step": step})
    path = tmp_path / CHECKPOINT
    assert sorted(each.name for each in tmp_path.iterdir()) == [PREVIOUS, CHECKPOINT]
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(CheckpointError) as caught:
        checkpoint.restore_checkpoint(tmp_path, model, optimizer)
    remedy = "continue with --resume from the one before it, of step 10, after "
    assert remedy in str(caught.value)
    subprocess.run(shlex.split(str(caught.value).partition(remedy)[2]), check=True)
    assert checkpoint.restore_checkpoint(tmp_path, model, optimizer) == {"step": 10}


def test_a_damaged_one_before_is_no_remedy(tmp_path: Path) -> None:
    model, optimizer = trained()
    for step in (5, 10):
        checkpoint.save_checkpoint(tmp_path, model, optimizer, {"step": step})
    for path in tmp_path.iterdir():
        path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(CheckpointError, match=r"\); name another --adapter-path$"):
        checkpoint.restore_checkpoint(tmp_path, model, optimizer)


def test_two_are_kept_where_there_are_no_hard_links(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_link(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(Path, "hardlink_to", no_link)
    model, optimizer = trained()
    for step in (5, 10):
        checkpoint.save_checkpoint(tmp_path, model, optimizer, {"step": step})
    steps = [json.loads(read_run(tmp_path / name))["step"] for name in (PREVIOUS, CHECKPOINT)]
    assert steps == [5, 10]


def test_where_it_cannot_be_written_the_old_one_stays(tmp_path: Path) -> None:
    model, optimizer = trained()
    checkpoint.save_checkpoint(tmp_path, model, optimizer, {"step": 1})
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    earlier = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
    try:
        with pytest.raises(OutputError, match="make room"):
            checkpoint.save_checkpoint(tmp_path, model, optimizer, {"step": 2})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, earlier)
    assert [path.name for path in tmp_path.iterdir()] == [CHECKPOINT]
    assert checkpoint.restore_checkpoint(tmp_path, model, optimizer) == {"step": 1}


def test_adapters_have_mlx_lms_names(tmp_path: Path) -> None:
    model, _ = trained()
    checkpoint.save_adapters(tmp_path, model)
    checkpoint.save_adapters(tmp_path, model, 40)
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"0000040_{ADAPTERS}", ADAPTERS]
    assert set(mx.load(str(tmp_path / ADAPTERS))) == {"weight", "bias"}

"""What a checkpoint keeps, and that it is written whole or not at all."""

from __future__ import annotations

import json
import resource
import signal
from pathlib import Path

import mlx.core as mx
import pytest
from mlx import nn, optimizers
from mlx.utils import tree_flatten
from safetensors import safe_open

from pytest_yourai.core.errors import ModelError, OutputError
from pytest_yourai.worker.engine import checkpoint
from pytest_yourai.worker.protocol import ADAPTERS, CHECKPOINT, METADATA_KEY


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


def test_one_of_another_model_is_refused(tmp_path: Path) -> None:
    checkpoint.save_checkpoint(tmp_path, *trained(), {"step": 2})
    with pytest.raises(ModelError, match="does not fit the model"):
        checkpoint.restore_checkpoint(tmp_path, *trained(width=5))


def test_one_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / CHECKPOINT).write_bytes(b"no tensors")
    with pytest.raises(ModelError, match="cannot be read"):
        checkpoint.restore_checkpoint(tmp_path, *trained())


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

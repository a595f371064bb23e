"""Options, data and checkpoints of training runs, for tests that start none."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from pytest_yourai.paths import packaged_models
from pytest_yourai.training.files import CHECKPOINT, METADATA_KEY
from pytest_yourai.training.options import TrainOptions


def asked(folder: Path, **values: Any) -> TrainOptions:
    """A dry run of tiny with adapters in `folder`, and what is asked for besides."""
    usual = {"model": "tiny", "weights": "synthetic", "presets": packaged_models()}
    return TrainOptions(**{**usual, "adapter_path": folder / "adapters", **values})


def rows_folder(folder: Path, rows: int = 8) -> Path:
    """Training data: rows of text."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "train.jsonl").write_text('{"text": "the fox"}\n' * rows)
    return folder


def saved(folder: Path, **values: Any) -> Path:
    """An adapter path with a checkpoint of tiny; only its metadata counts here."""
    metadata = {
        "step": 40,
        "max_steps": 200,
        "model": "tiny",
        "batch_size": 2,
        "rank": 4,
        "num_layers": 3,
        "max_seq_length": 32,
        "lora_keys": ["self_attn.q_proj", "self_attn.v_proj"],
        "learning_rate": 2e-5,
        "seed": 7,
        "data": None,
        "rows": None,
        **values,
    }
    return write_checkpoint(folder, json.dumps(metadata))


def write_checkpoint(folder: Path, metadata: str) -> Path:
    path = folder / "adapters"
    path.mkdir(exist_ok=True)
    save_file({"x": np.zeros(1)}, path / CHECKPOINT, metadata={METADATA_KEY: metadata})
    return path

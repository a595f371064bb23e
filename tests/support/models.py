"""Models and data that the tests make: no network, real tokenizers, real safetensors.

MLX is imported here, at the top, on purpose: pytester takes what a test imports out of
sys.modules again, and MLX cannot be imported twice.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from unittest.mock import patch

import mlx.core as mx
from mlx_lm.convert import convert
from mlx_lm.utils import make_shards, quantize_model, save_config, save_model

from pytest_yourai.models.made_rows import make_rows
from pytest_yourai.worker.engine.model_folder import make_tokenizer
from pytest_yourai.worker.engine.weights import build_lazily

TINY: Mapping[str, Any] = {
    "model_type": "llama",
    "hidden_size": 64,
    "num_hidden_layers": 4,
    "intermediate_size": 256,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "rms_norm_eps": 1e-5,
    "vocab_size": 256,
    "rope_theta": 10000.0,
    "tie_word_embeddings": False,
    "torch_dtype": "float32",
}

SMALL_MISTRAL: Mapping[str, Any] = {**TINY, "model_type": "mistral", "num_hidden_layers": 6}

SMALL_QWEN2: Mapping[str, Any] = {
    **TINY,
    "model_type": "qwen2",
    "hidden_size": 128,
    "num_hidden_layers": 8,
    "intermediate_size": 384,
    "tie_word_embeddings": True,
}

GROWING = (TINY, SMALL_MISTRAL, SMALL_QWEN2)
"""Of 0.3, 0.4 and 1.6 million parameters: 1.1, 1.6 and 6.4 MB."""


def make_model(
    folder: Path,
    architecture: Mapping[str, Any] = TINY,
    bits: int | None = None,
    shard_bytes: int | None = None,
    seed: int = 1,
) -> Path:
    """A folder as mlx-lm loads it: config.json, weights with their index, tokenizer.

    The weights are one file, or several of at most `shard_bytes` each, or of one larger array.
    """
    folder.mkdir(parents=True, exist_ok=True)
    mx.random.seed(seed)
    model = build_lazily(architecture)
    config = dict(architecture)
    if bits is not None:
        model, config = quantize_model(model, config, 64, bits)
    if shard_bytes is None:
        save_model(folder, model)
    else:
        small = functools.partial(make_shards, max_file_size_gb=_Bytes(shard_bytes))
        with patch("mlx_lm.utils.make_shards", small):
            save_model(folder, model)
    save_config(config, folder / "config.json")
    make_tokenizer(folder)
    return folder


class _Bytes(int):
    """A size where mlx-lm takes whole gigabytes, and shifts them to bytes."""

    def __lshift__(self, _: int) -> int:
        return int(self)


def convert_model(source: Path, folder: Path, bits: int) -> Path:
    """The model of `source`, quantized by mlx-lm's own converter."""
    convert(str(source), str(folder), quantize=True, q_bits=bits, q_group_size=64)
    return folder


def make_heavy_config(folder: Path) -> Path:
    """A folder without weights, of a model that takes 410 MB and whose steps are short."""
    folder.mkdir()
    sizes = {"hidden_size": 512, "vocab_size": 100_000, "num_hidden_layers": 2}
    (folder / "config.json").write_text(json.dumps({**TINY, **sizes}))
    return folder


make_data = make_rows


def write_rows(folder: Path, rows: Sequence[Mapping[str, Any]], name: str = "train") -> Path:
    """A data folder with these rows in its train.jsonl, or in another file of mlx-lm's."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def text_of(tokens: int) -> str:
    """Text that `make_tokenizer`'s tokenizer and mlx-lm make so many tokens of, at least 2."""
    return " ".join(["fox"] * (tokens - 1))

"""What is run: models and configurations that keep the backend busy, and end in time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pytest_yourai.core.config import ALL_KEYS, LoraConfig
from pytest_yourai.core.device import Backend


@dataclass(frozen=True, slots=True)
class Predicted:
    """A model whose minimum memory is predicted, and then measured."""

    kind: str
    title: str
    architecture: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Cases:
    """All that is run on one backend; the first model is compared with mlx-lm, too."""

    models: tuple[Predicted, Predicted, Predicted]
    config: LoraConfig
    pairs: int
    """Steps of a trial and of mlx_lm.lora that are taken in turn."""


_QUANTIZATION = {"group_size": 64, "bits": 4}

_CPU: Mapping[str, Any] = {
    "hidden_size": 64,
    "num_hidden_layers": 4,
    "intermediate_size": 192,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 512,
    "rms_norm_eps": 1e-5,
    "rope_theta": 10000.0,
    "tie_word_embeddings": False,
    "torch_dtype": "float32",
}
"""MLX's wheel for Linux multiplies at 1 GFLOP/s: a step of 256 tokens takes 0.1 s of a core."""

_GPU: Mapping[str, Any] = {
    **_CPU,
    "hidden_size": 1024,
    "num_hidden_layers": 8,
    "intermediate_size": 3072,
    "num_attention_heads": 16,
    "num_key_value_heads": 8,
    "vocab_size": 32000,
    "torch_dtype": "bfloat16",
    "quantization": _QUANTIZATION,
}


def _models(common: Mapping[str, Any]) -> tuple[Predicted, Predicted, Predicted]:
    inner = common["intermediate_size"]
    mixture = {
        "model_type": "qwen3_moe",
        "head_dim": common["hidden_size"] // common["num_attention_heads"],
        "num_experts": 8,
        "num_experts_per_tok": 2,
        "decoder_sparse_step": 1,
        "mlp_only_layers": [],
        "moe_intermediate_size": inner // 3,
        "norm_topk_prob": True,
        "max_position_embeddings": 4096,
    }
    return (
        Predicted("dense", "dense (llama)", {**common, "model_type": "llama"}),
        Predicted("fused", "fused projections (phi3)", {**common, "model_type": "phi3"}),
        Predicted("mixture", "mixture of experts (qwen3_moe)", {**common, **mixture}),
    )


def cases(backend: Backend) -> Cases:
    """Those of a backend."""
    if backend == "cpu":
        return Cases(_models(_CPU), LoraConfig(2, 8, 4, 64, lora_keys=ALL_KEYS), pairs=60)
    return Cases(_models(_GPU), LoraConfig(2, 16, 8, 512, lora_keys=ALL_KEYS), pairs=40)

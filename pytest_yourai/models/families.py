"""The model types that config.json alone describes to the byte: those that most people train."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from pytest_yourai.models.dense_layers import (
    gemma2,
    gemma3,
    glm4,
    gpt2,
    gpt2_positions,
    granite,
    llama,
    olmo2,
    openelm,
    phi3,
    qwen2,
    qwen3,
)
from pytest_yourai.models.hybrid_layers import granite_hybrid, lfm2, nemotron_h, qwen3_5
from pytest_yourai.models.known_config import KnownConfig
from pytest_yourai.models.layer_shapes import Layers, LinearShape
from pytest_yourai.models.sparse_layers import deepseek, gpt_oss, qwen3_moe


@dataclass(frozen=True, slots=True)
class Family:
    """How a model type's layers are built, and what is outside of them."""

    layers: Callable[[KnownConfig], Layers]
    head: str = "flag"
    """`own` or `tied` whatever config.json says; `flag`: as it says."""
    capped_logits: int = 0
    """Arrays of the logits' size that a soft cap keeps at the loss."""
    head_bits: int = 0
    """Bits that mlx-lm takes for a head of its own in a quantized model; 0: the model's."""
    hidden_keys: tuple[str, ...] = ("hidden_size",)
    tied_key: str = "tie_word_embeddings"
    is_measured: bool = True
    """False where what its layers keep was derived, and never measured on a GPU."""
    last_norms: int = 1
    """Vectors of the hidden size outside the layers."""
    outside: Callable[[KnownConfig], tuple[LinearShape, ...]] = lambda _: ()
    """Embeddings beside that of words."""


FAMILIES: dict[str, Family] = {
    "llama": Family(llama),
    "qwen2": Family(qwen2),
    "qwen3": Family(qwen3),
    "smollm3": Family(llama),
    "granite": Family(granite, head_bits=8),
    "gemma2": Family(gemma2, head="tied", capped_logits=1),
    "gemma3_text": Family(gemma3),
    "phi3": Family(phi3),
    "glm4": Family(glm4, head="own"),
    "olmo2": Family(olmo2),
    "gpt_oss": Family(gpt_oss, head="own"),
    "qwen3_moe": Family(qwen3_moe),
    "qwen3_5": Family(qwen3_5, is_measured=False),
    "lfm2": Family(lfm2, head="tied"),
    "deepseek_v2": Family(deepseek, head="own"),
    "deepseek_v3": Family(deepseek, head="own", is_measured=False),
    "gpt2": Family(
        gpt2,
        head="tied",
        hidden_keys=("n_embd", "hidden_size"),
        last_norms=2,
        outside=gpt2_positions,
        is_measured=False,
    ),
    "openelm": Family(
        openelm, hidden_keys=("model_dim",), tied_key="share_input_output_layers", is_measured=False
    ),
    "granitemoehybrid": Family(granite_hybrid, is_measured=False),
    "nemotron_h": Family(nemotron_h, head="own", is_measured=False),
}

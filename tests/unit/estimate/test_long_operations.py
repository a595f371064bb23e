from __future__ import annotations

from typing import Any

import pytest

from pytest_yourai.core.config import LoraConfig
from pytest_yourai.estimate.long_operations import longest_operation

LLAMA_8B = {
    "hidden_size": 4096,
    "num_attention_heads": 32,
    "intermediate_size": 14_336,
    "vocab_size": 128_256,
}
GPT_2 = {"n_embd": 768, "n_head": 12, "vocab_size": 50_257}
STATE_SPACE = {"d_model": 768, "vocab_size": 50_280}


@pytest.mark.parametrize(
    ("architecture", "batch", "length", "device", "name", "took_s"),
    [
        (LLAMA_8B, 4, 2049, "Apple M1", "the product with the vocabulary", 5.5),
        (LLAMA_8B, 4, 2049, "Apple M1 Max", "the product with the vocabulary", 1.4),
        (LLAMA_8B, 4, 2049, "Apple M3 Ultra", "the product with the vocabulary", 0.5),
        (LLAMA_8B, 4, 2049, "Apple M7 Pro", "the product with the vocabulary", 1.6),
        (LLAMA_8B, 4, 2049, "Apple M7 Ultra", "the product with the vocabulary", 0.8),
        (LLAMA_8B | {"vocab_size": 100}, 1, 32_769, "Apple M4", "a layer's attention", 3.4),
        (LLAMA_8B | {"vocab_size": 100}, 8, 2049, "Apple M4", "a layer's MLP", 0.75),
        (GPT_2, 1, 1025, "Apple M2 Pro", "the product with the vocabulary", 0.02),
        (STATE_SPACE, 1, 1025, "Apple M2 Pro", "the product with the vocabulary", 0.02),
    ],
)
def test_the_longest_operation_has_a_name_and_a_time(
    architecture: dict[str, Any], batch: int, length: int, device: str, name: str, took_s: float
) -> None:
    found = longest_operation(LoraConfig(batch, 8, 4, length), architecture, device)
    assert found is not None
    assert found.name == name
    assert found.seconds == pytest.approx(took_s, rel=0.05)


@pytest.mark.parametrize(
    ("architecture", "device"), [(LLAMA_8B, "NVIDIA H200"), (LLAMA_8B, ""), ({}, "Apple M1")]
)
def test_of_what_is_not_known_nothing_is_said(architecture: dict[str, Any], device: str) -> None:
    assert longest_operation(LoraConfig(4, 8, 4, 2049), architecture, device) is None

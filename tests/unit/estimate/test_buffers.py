"""The largest single arrays, against what Metal allows for one."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_yourai.core.config import LoraConfig, Quantization
from pytest_yourai.core.device import DeviceInfo
from pytest_yourai.estimate.buffers import (
    largest_array,
    largest_array_bytes,
    over_the_buffer_limit,
)


@pytest.mark.parametrize(
    ("batch", "length", "architecture", "expected"),
    [
        (1, 513, {"vocab_size": 128_256, "num_attention_heads": 32}, 512 * 128_256 * 2),
        (4, 8193, {"vocab_size": 32_000, "num_attention_heads": 32}, 4 * 32 * 8192**2 * 2),
        (1, 3, {"vocab_size": 100, "torch_dtype": "float32"}, 2 * 100 * 4),
        (2, 3, {"text_config": {"vocab_size": 100, "dtype": "float32"}}, 2 * 2 * 100 * 4),
        (1, 3, {}, 0),
        (1, 3, {"vocab_size": "many", "n_head": None}, 0),
    ],
)
def test_it_is_the_logits_or_the_scores(
    batch: int, length: int, architecture: dict[str, Any], expected: int
) -> None:
    assert largest_array_bytes(LoraConfig(batch, 8, 4, length), architecture) == expected


LLAMA_8B = {"hidden_size": 4096, "num_attention_heads": 32, "vocab_size": 128_256}
GEMMA_2B = {"hidden_size": 2304, "num_attention_heads": 8, "vocab_size": 256_000}
GEMMA3_4B = {"model_type": "gemma3", "text_config": {"hidden_size": 2560}}
"""Without the words, of which mlx-lm knows the number."""
TINY_WORDS = {"hidden_size": 8192, "num_attention_heads": 1, "vocab_size": 500_000}
MANY_WORDS = TINY_WORDS | {"vocab_size": 5_000_000}
QWEN3_MOE = {
    "hidden_size": 2048,
    "num_attention_heads": 32,
    "vocab_size": 151_936,
    "intermediate_size": 6144,
    "moe_intermediate_size": 768,
    "num_experts": 128,
}
MIXTRAL = {
    "hidden_size": 4096,
    "num_attention_heads": 32,
    "vocab_size": 32_000,
    "intermediate_size": 14_336,
    "num_local_experts": 8,
}
FOUR_BITS = Quantization(4, 64)


@pytest.mark.parametrize(
    ("architecture", "quantization", "batch", "length", "name", "expected"),
    [
        (GEMMA3_4B, FOUR_BITS, 4, 2049, "its logits", 4 * 2048 * 262_208 * 2),
        (GEMMA_2B, FOUR_BITS, 4, 2049, "its logits", 4 * 2048 * 256_000 * 2),
        (LLAMA_8B, FOUR_BITS, 1, 8193, "its attention scores", 32 * 8192**2 * 2),
        (TINY_WORDS, FOUR_BITS, 1, 65, "its embeddings", 8192 * 500_000 // 2),
        (TINY_WORDS, None, 1, 65, "its embeddings", 8192 * 500_000 * 2),
        (QWEN3_MOE, Quantization(8, 64), 1, 65, "its embeddings", 2048 * 151_936),
        (QWEN3_MOE, FOUR_BITS, 1, 65, "its embeddings", 2048 * 151_936 // 2),
        (MIXTRAL, FOUR_BITS, 1, 65, "the weights of its experts", 8 * 4096 * 14_336 // 2),
        (MIXTRAL, None, 1, 65, "the weights of its experts", 8 * 4096 * 14_336 * 2),
    ],
)
def test_the_largest_array_has_a_name(
    architecture: dict[str, Any],
    quantization: Quantization | None,
    batch: int,
    length: int,
    name: str,
    expected: int,
) -> None:
    found = largest_array(LoraConfig(batch, 8, 4, length), architecture, quantization)
    assert found is not None
    assert (found.name, found.held_bytes) == (name, expected)


def mac(max_buffer_bytes: int | None) -> DeviceInfo:
    return DeviceInfo("metal", "Apple M1", None, None, "0", "0", max_buffer_bytes, 499_000)


M1 = mac(8_589_934_592)
"""Of 16 GB, on macOS 13."""


@pytest.mark.parametrize(
    ("architecture", "batch", "length", "device", "reason", "remedy"),
    [
        (
            GEMMA_2B,
            10,
            2049,
            M1,
            "its logits are one array of 10.5 GB, and Metal allows 8.6 GB for one on this machine",
            "use a smaller batch_size, or a shorter max_seq_length",
        ),
        (
            LLAMA_8B,
            1,
            16_385,
            M1,
            "its attention scores are one array of 17.2 GB, and Metal allows 8.6 GB",
            "use a shorter max_seq_length, or a smaller batch_size",
        ),
        (
            TINY_WORDS | {"vocab_size": 5_000_000},
            1,
            65,
            M1,
            "its embeddings are one array of 20.5 GB",
            "quantize it",
        ),
    ],
)
def test_an_array_over_the_limit_is_named_with_its_remedy(
    architecture: dict[str, Any],
    batch: int,
    length: int,
    device: DeviceInfo,
    reason: str,
    remedy: str,
) -> None:
    config = LoraConfig(batch, 8, 4, length)
    found = over_the_buffer_limit(config, architecture, FOUR_BITS, device)
    assert found is not None
    assert found[0].startswith(reason)
    assert found[1].startswith(remedy)


def test_what_is_within_the_limit_runs() -> None:
    exact = LoraConfig(1, 8, 4, 65)
    assert over_the_buffer_limit(exact, TINY_WORDS, None, mac(8192 * 500_000 * 2)) is None
    assert over_the_buffer_limit(exact, TINY_WORDS, None, mac(8192 * 500_000 * 2 - 1)) is not None
    assert over_the_buffer_limit(LoraConfig(99, 8, 4, 9999), LLAMA_8B, None, mac(None)) is None
    assert over_the_buffer_limit(exact, {}, None, mac(1)) is None

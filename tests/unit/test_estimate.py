from __future__ import annotations

from typing import Any

import pytest

from pytest_yourai.config import LoraConfig
from pytest_yourai.estimate import largest_array_bytes


@pytest.mark.parametrize(
    ("batch", "length", "architecture", "expected"),
    [
        (1, 513, {"vocab_size": 128_256, "num_attention_heads": 32}, 512 * 128_256 * 2),
        (4, 8193, {"vocab_size": 32_000, "num_attention_heads": 32}, 4 * 32 * 8192**2 * 2),
        (1, 3, {"vocab_size": 100, "torch_dtype": "float32"}, 2 * 100 * 4),
        (2, 3, {"text_config": {"vocab_size": 100, "dtype": "float32"}}, 2 * 2 * 100 * 2),
        (1, 3, {}, 0),
        (1, 3, {"vocab_size": "many", "n_head": None}, 0),
    ],
)
def test_it_is_the_logits_or_the_scores(
    batch: int, length: int, architecture: dict[str, Any], expected: int
) -> None:
    assert largest_array_bytes(LoraConfig(batch, 8, 4, length), architecture) == expected

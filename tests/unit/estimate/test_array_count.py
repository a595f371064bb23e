from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from pytest_yourai.core.config import LoraConfig
from pytest_yourai.estimate.array_count import arrays_held, loops_over_tokens

LLAMA = {"model_type": "llama", "num_hidden_layers": 32}
MAMBA = {"model_type": "mamba", "num_hidden_layers": 24}
QWEN3_NEXT = {"num_hidden_layers": 48, "full_attention_interval": 4}
QWEN3_5 = {"num_hidden_layers": 4, "layer_types": ["linear_attention"] * 3 + ["full_attention"]}
JAMBA = {"model_type": "jamba", "num_hidden_layers": 8, "attn_layer_period": 8}
CONFIG = LoraConfig(1, 8, 32, 2049)


@pytest.mark.parametrize(
    ("architecture", "linears", "shapes", "expected"),
    [
        (LLAMA, 7, 1, 32 * 9 + 4 * 448 + 16 + 224),
        (LLAMA, 7, 64, 32 * 9 + 4 * 448 + 64 * (16 + 224)),
        (LLAMA, 1, 1, 32 * 9 + 4 * 64 + 16 + 32),
        (MAMBA, 0, 1, 24 * 9 + 16 + 2 * 2048 * 24),
        (QWEN3_NEXT, 0, 1, 48 * 9 + 16 + 2 * 2048 * 24),
        (QWEN3_5, 0, 1, 4 * 9 + 16 + 2 * 2048 * 3),
        (JAMBA, 0, 1, 8 * 9 + 16 + 2 * 2048 * 7),
        ({}, 0, 1, 16),
        ({"layer_types": []}, 0, 1, 16),
    ],
)
def test_arrays_are_counted(
    architecture: dict[str, Any], linears: int, shapes: int, expected: int
) -> None:
    assert arrays_held(CONFIG, architecture, linears, shapes) == expected


def test_checkpointing_keeps_the_states_of_one_layer() -> None:
    config = dataclasses.replace(CONFIG, grad_checkpoint=True)
    assert arrays_held(config, MAMBA, 0, 1) == 24 * 9 + 16 + 2 * 2048
    assert arrays_held(config, LLAMA, 0, 1) == 32 * 9 + 16


def test_only_trained_layers_keep_states() -> None:
    last = dataclasses.replace(CONFIG, num_layers=2)
    assert arrays_held(last, QWEN3_5, 0, 1) == 4 * 9 + 16 + 2 * 2048


@pytest.mark.parametrize(
    ("architecture", "loops"),
    [(LLAMA, False), (MAMBA, True), (QWEN3_NEXT, True), ({"text_config": QWEN3_5}, True)],
)
def test_some_layers_loop_over_tokens(architecture: dict[str, Any], loops: bool) -> None:
    assert loops_over_tokens(architecture) is loops

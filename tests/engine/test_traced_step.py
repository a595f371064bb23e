"""Traced steps, against what the same steps hold when they run."""

import dataclasses
import gc
from collections.abc import Iterator
from typing import Any

import mlx.core as mx
import pytest

from pytest_yourai.core.config import FineTuneType, LoraConfig, Optimizer, StepPlan
from pytest_yourai.core.recipe import MLX_LM_DEFAULTS
from pytest_yourai.estimate.followed_step import estimate_of
from pytest_yourai.models.source import ModelSource, Wanted
from pytest_yourai.models.step_profile import step_kind
from pytest_yourai.worker.engine.mlx_engine import MlxEngine
from pytest_yourai.worker.protocol import StepSample, TrialRequest

WIDE_BYTES = 10_000_000_000

LLAMA: dict[str, Any] = {
    "model_type": "llama",
    "hidden_size": 128,
    "num_hidden_layers": 4,
    "intermediate_size": 256,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 1000,
    "rms_norm_eps": 1e-5,
    "torch_dtype": "float32",
}

MIXTURE: dict[str, Any] = {
    **LLAMA,
    "model_type": "qwen3_moe",
    "head_dim": 32,
    "num_experts": 8,
    "num_experts_per_tok": 2,
    "decoder_sparse_step": 1,
    "mlp_only_layers": [],
    "moe_intermediate_size": 64,
    "norm_topk_prob": True,
    "rope_theta": 10000.0,
    "tie_word_embeddings": False,
    "max_position_embeddings": 512,
}

HYBRID: dict[str, Any] = {
    **LLAMA,
    "model_type": "lfm2",
    "norm_eps": 1e-5,
    "conv_bias": False,
    "conv_L_cache": 3,
    "block_dim": 128,
    "block_ff_dim": 256,
    "block_multiple_of": 32,
    "block_ffn_dim_multiplier": 1.0,
    "block_auto_adjust_ff_dim": False,
    "rope_theta": 10000.0,
    "max_position_embeddings": 512,
    "layer_types": ["conv", "full_attention", "conv", "full_attention"],
}

CAPPED: dict[str, Any] = {**LLAMA, "model_type": "gemma2", "head_dim": 32}

USUAL = LoraConfig(2, 8, 4, 64, lora_keys="all")


@pytest.fixture(autouse=True)
def _nothing_left() -> Iterator[None]:
    gc.collect()
    mx.clear_cache()
    usual = mx.set_memory_limit(WIDE_BYTES)
    yield
    mx.set_memory_limit(usual)


def predicted_and_measured(
    architecture: dict[str, Any], config: LoraConfig
) -> tuple[tuple[int, int], tuple[int, int]]:
    """Minimum and peak, as predicted and as measured."""
    source = ModelSource("made", architecture, None, True, None, (config.lora_keys,))
    engine = MlxEngine()
    wanted = Wanted.of([config], MLX_LM_DEFAULTS)
    steps = engine.inspect(source, None, wanted=wanted).steps
    estimate = estimate_of(steps[step_kind(config, config.max_seq_length)], config, "cpu")
    engine.load(source)
    events: list[Any] = []
    plan = StepPlan(measured_steps=1)
    engine.run_trial(TrialRequest(config, plan, WIDE_BYTES, None), events.append)
    samples = [each for each in events if isinstance(each, StepSample)]
    warmup = [each.peak_memory_bytes for each in samples if each.phase == "warmup"]
    free = [each.peak_memory_bytes for each in samples if each.phase == "measure"]
    return (estimate.minimum_bytes, estimate.peak_bytes), (max(warmup[1:]), max(free))


@pytest.mark.parametrize("architecture", [LLAMA, CAPPED, MIXTURE, HYBRID])
def test_a_traced_step_holds_what_the_step_holds(architecture: dict[str, Any]) -> None:
    (minimum, peak), (needed, taken) = predicted_and_measured(architecture, USUAL)
    assert minimum == pytest.approx(needed, rel=0.04)
    assert peak == pytest.approx(taken, rel=0.06)


@pytest.mark.parametrize(
    "change",
    [
        {"grad_checkpoint": True, "max_seq_length": 256, "batch_size": 1},
        {"max_seq_length": 513, "batch_size": 1, "num_layers": 2},
        {"fine_tune_type": FineTuneType.DORA},
        {"fine_tune_type": FineTuneType.FULL, "optimizer": Optimizer.ADAMW},
        {"dropout": 0.1, "rank": 64},
        {"grad_accumulation_steps": 2, "rank": 64},
        {"optimizer": Optimizer.MUON, "batch_size": 1, "max_seq_length": 17, "rank": 32},
        {"lora_keys": "qkvo", "num_layers": 2, "batch_size": 1},
    ],
)
def test_a_traced_step_follows_the_recipe(change: dict[str, Any]) -> None:
    config = dataclasses.replace(USUAL, **change)
    (minimum, peak), (needed, taken) = predicted_and_measured(LLAMA, config)
    assert minimum == pytest.approx(needed, rel=0.04)
    assert peak == pytest.approx(taken, rel=0.06)

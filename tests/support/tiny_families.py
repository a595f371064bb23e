"""Tiny models of each type that config.json describes to the byte, of sizes that all differ."""

from __future__ import annotations

from typing import Any

_BASE: dict[str, Any] = {
    "torch_dtype": "bfloat16",
    "hidden_size": 128,
    "num_hidden_layers": 3,
    "intermediate_size": 192,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 300,
    "rms_norm_eps": 1e-5,
    "rope_theta": 1e4,
    "max_position_embeddings": 512,
    "tie_word_embeddings": False,
}
_TIED = {"tie_word_embeddings": True}
_YARN = {"type": "yarn", "factor": 4.0, "mscale": 0.7, "mscale_all_dim": 0.7}
_LATENT: dict[str, Any] = {
    "moe_intermediate_size": 64,
    "n_routed_experts": 4,
    "num_experts_per_tok": 2,
    "kv_lora_rank": 64,
    "qk_rope_head_dim": 16,
    "qk_nope_head_dim": 32,
    "v_head_dim": 24,
    "first_k_dense_replace": 1,
    "rope_scaling": _YARN,
}
_DELTA: dict[str, Any] = {
    "linear_num_value_heads": 4,
    "linear_num_key_heads": 2,
    "linear_key_head_dim": 16,
    "linear_value_head_dim": 24,
    "linear_conv_kernel_dim": 4,
    "full_attention_interval": 3,
    "head_dim": 32,
}
_EXPERTS: dict[str, Any] = {
    "num_experts": 6,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 64,
    "decoder_sparse_step": 1,
    "mlp_only_layers": [1],
    "norm_topk_prob": True,
    "head_dim": 48,
}
_GRANITE: dict[str, Any] = {
    "logits_scaling": 8.0,
    "attention_multiplier": 0.1,
    "embedding_multiplier": 12.0,
    "residual_multiplier": 0.2,
    "attention_bias": True,
    "mlp_bias": True,
}
_GRANITE_HYBRID: dict[str, Any] = {
    **_GRANITE,
    "attention_bias": False,
    "layer_types": ["mamba", "attention", "mamba"],
    "mamba_n_heads": 8,
    "mamba_d_head": 16,
    "mamba_proj_bias": True,
    "mamba_d_state": 24,
    "mamba_d_conv": 4,
    "mamba_n_groups": 2,
    "mamba_conv_bias": True,
}
_NEMOTRON: dict[str, Any] = {
    "attention_bias": True,
    "mamba_num_heads": 8,
    "mamba_head_dim": 16,
    "mamba_proj_bias": False,
    "ssm_state_size": 24,
    "conv_kernel": 4,
    "n_groups": 2,
    "mlp_bias": True,
    "layer_norm_epsilon": 1e-5,
    "use_bias": False,
    "use_conv_bias": True,
}
_NEMOTRON_EXPERTS: dict[str, Any] = {
    "moe_intermediate_size": 64,
    "moe_shared_expert_intermediate_size": 96,
    "n_routed_experts": 4,
    "n_shared_experts": 1,
    "num_experts_per_tok": 2,
    "n_group": 1,
    "topk_group": 1,
    "norm_topk_prob": True,
    "routed_scaling_factor": 1.0,
}
_LFM2: dict[str, Any] = {
    "norm_eps": 1e-5,
    "conv_L_cache": 3,
    "block_dim": 128,
    "block_multiple_of": 32,
    "block_ffn_dim_multiplier": 1.0,
}


def _of(model_type: str, *parts: dict[str, Any], **more: Any) -> dict[str, Any]:
    merged = {**_BASE, "model_type": model_type}
    for part in (*parts, more):
        merged |= part
    return merged


TINY_FAMILIES: dict[str, dict[str, Any]] = {
    "llama": _of("llama", attention_bias=True, mlp_bias=True),
    "mistral": _of("mistral", head_dim=48),
    "qwen2": _of("qwen2", _TIED),
    "qwen3": _of("qwen3", head_dim=48),
    "smollm3": _of("smollm3", _TIED),
    "granite": _of("granite", _GRANITE),
    "gemma2": _of("gemma2", head_dim=48),
    "gemma3_text": _of("gemma3_text", _TIED, head_dim=48),
    "gemma3_text with a head": _of("gemma3_text", head_dim=48),
    "phi3": _of("phi3"),
    "glm4": _of("glm4", head_dim=48, attention_bias=True, partial_rotary_factor=0.5),
    "olmo2": _of("olmo2", attention_bias=True),
    "gpt_oss": _of(
        "gpt_oss",
        head_dim=48,
        num_local_experts=6,
        num_experts_per_tok=2,
        sliding_window=64,
        layer_types=["sliding_attention", "full_attention", "sliding_attention"],
    ),
    "qwen3_moe": _of("qwen3_moe", _EXPERTS),
    "qwen3_moe without experts": _of("qwen3_moe", _EXPERTS, num_experts=0),
    "qwen3_5": _of("qwen3_5", _DELTA, attention_bias=True),
    "qwen3_5_moe": _of(
        "qwen3_5_moe", _DELTA, _EXPERTS, shared_expert_intermediate_size=96, head_dim=32
    ),
    "lfm2": _of(
        "lfm2",
        _LFM2,
        conv_bias=True,
        block_auto_adjust_ff_dim=True,
        block_ff_dim=416,
        layer_types=["conv", "full_attention", "conv"],
    ),
    "lfm2 by numbers": _of(
        "lfm2",
        _LFM2,
        conv_bias=False,
        block_auto_adjust_ff_dim=False,
        full_attn_idxs=[2],
    ),
    "deepseek_v2": _of("deepseek_v2", _LATENT, q_lora_rank=None, n_shared_experts=2),
    "deepseek_v2 dense": _of(
        "deepseek_v2", _LATENT, q_lora_rank=64, n_routed_experts=None, attention_bias=True
    ),
    "deepseek_v3": _of("deepseek_v3", _LATENT, q_lora_rank=64, n_shared_experts=1),
    "granitemoehybrid": _of("granitemoehybrid", _GRANITE_HYBRID),
    "granitemoehybrid with experts": _of(
        "granitemoehybrid",
        _GRANITE_HYBRID,
        num_local_experts=4,
        num_experts_per_tok=2,
        shared_intermediate_size=96,
    ),
    "nemotron_h": _of("nemotron_h", _NEMOTRON, hybrid_override_pattern="M-*M"),
    "nemotron_h with experts": _of(
        "nemotron_h",
        _NEMOTRON,
        _NEMOTRON_EXPERTS,
        layers_block_type=["mamba", "moe", "attention"],
    ),
    "nemotron_h with latent experts": _of(
        "nemotron_h",
        _NEMOTRON,
        _NEMOTRON_EXPERTS,
        moe_latent_size=64,
        layers_block_type=["mamba", "moe", "attention"],
    ),
    "gpt2": {
        "model_type": "gpt2",
        "torch_dtype": "bfloat16",
        "n_ctx": 128,
        "n_embd": 128,
        "n_head": 4,
        "n_layer": 3,
        "n_positions": 128,
        "layer_norm_epsilon": 1e-5,
        "vocab_size": 300,
    },
    "openelm": {
        "model_type": "openelm",
        "torch_dtype": "bfloat16",
        "head_dim": 32,
        "num_transformer_layers": 3,
        "model_dim": 128,
        "vocab_size": 300,
        "ffn_dim_divisor": 32,
        "num_query_heads": [4, 4, 8],
        "num_kv_heads": [2, 2, 4],
        "ffn_multipliers": [0.5, 1.3, 2.0],
    },
}

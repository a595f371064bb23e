"""The modules that named sets of LoRA keys mean."""

from pytest_yourai.core.module_sets import members

LLAMA = [f"self_attn.{each}_proj" for each in "qkvo"] + ["mlp.gate_proj", "mlp.down_proj"]

LOW_RANK = [
    "self_attn.q_a_proj",
    "self_attn.q_b_proj",
    "self_attn.kv_a_proj_with_mqa",
    "self_attn.o_proj",
    "mlp.down_proj",
]


def test_separate_projections() -> None:
    assert members("qkvo", LLAMA) == tuple(LLAMA[:4])
    assert members("qv", LLAMA) == ("self_attn.q_proj", "self_attn.v_proj")


def test_a_fused_projection_belongs_to_each_set_that_it_computes_something_of() -> None:
    phi = ["self_attn.qkv_proj", "self_attn.o_proj", "mlp.gate_up_proj", "mlp.down_proj"]
    assert members("qkvo", phi) == ("self_attn.qkv_proj", "self_attn.o_proj")
    assert members("qv", phi) == ("self_attn.qkv_proj",)


def test_low_rank_projections_are_those_of_queries_and_of_keys_with_values() -> None:
    assert members("qkvo", LOW_RANK) == tuple(LOW_RANK[:4])
    assert members("qv", LOW_RANK) == tuple(LOW_RANK[:3])


def test_names_of_outputs_count_in_attention_modules_alone() -> None:
    gpt2 = ["attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj"]
    assert members("qkvo", gpt2) == ("attn.c_attn", "attn.c_proj")
    lfm2 = ["self_attn.q_proj", "self_attn.out_proj", "conv.in_proj", "conv.out_proj"]
    assert members("qkvo", lfm2) == ("self_attn.q_proj", "self_attn.out_proj")


def test_linear_attention_has_projections_too() -> None:
    paths = ["linear_attn.in_proj_qkv", "linear_attn.in_proj_z", "linear_attn.out_proj"]
    assert members("qkvo", paths) == ("linear_attn.in_proj_qkv", "linear_attn.out_proj")


def test_a_layer_without_attention_has_none() -> None:
    assert members("qkvo", ["mixer.in_proj", "mixer.out_proj"]) == ()

"""Weights, with the real engine."""

import dataclasses
import gc
import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import mlx.core as mx
import pytest
from mlx.utils import tree_flatten

from pytest_yourai.core.config import LoraConfig, Quantization
from pytest_yourai.core.errors import ModelError
from pytest_yourai.estimate.training_memory import estimate_trial
from pytest_yourai.models.config_keys import stored_quantization
from pytest_yourai.models.folder import missing_file
from pytest_yourai.models.resolve import resolve
from pytest_yourai.models.source import ModelSource
from pytest_yourai.worker.engine import weights

from support.models import GROWING, TINY, convert_model, make_model

KEYS = ("qkvo",)

LARGER: Mapping[str, Any] = {
    **TINY,
    "hidden_size": 512,
    "num_hidden_layers": 6,
    "intermediate_size": 1536,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "vocab_size": 8192,
}


def synthetic(
    architecture: Mapping[str, Any],
    quantization: Quantization | None = None,
    keys: str = "qkvo",
) -> ModelSource:
    return ModelSource("made", architecture, None, True, quantization, (keys,))


def peak_beyond_the_model(source: ModelSource) -> tuple[int, int]:
    """Bytes of MLX's peak beyond the finished model, and of the finished model."""
    gc.collect()
    mx.clear_cache()
    before = mx.get_active_memory()
    mx.reset_peak_memory()
    model = weights.load(source)
    finished = mx.get_active_memory()
    all_bytes = sum(array.nbytes for _, array in tree_flatten(model.parameters()))
    assert finished - before == pytest.approx(all_bytes, rel=1e-3)
    return mx.get_peak_memory() - finished, finished - before


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("bits", [None, 3, 4, 8])
def test_synthetic_weights_need_no_more_than_a_layer_beyond_themselves(
    dtype: str, bits: int | None
) -> None:
    architecture = {**LARGER, "torch_dtype": dtype}
    item_bytes = {"float32": 4, "bfloat16": 2}[dtype]
    hidden, inner = 512, 1536
    layer = (2 * hidden * hidden + 2 * hidden * hidden // 2 + 3 * hidden * inner) * item_bytes
    embedding = 8192 * hidden * item_bytes
    beyond, _ = peak_beyond_the_model(synthetic(architecture, Quantization(bits) if bits else None))
    assert beyond <= max(layer, embedding)


@pytest.mark.parametrize("bits", [None, 2, 3, 4, 5, 6, 8])
def test_weights_quantized_on_load_need_no_more_than_a_layer_beyond_themselves(
    tmp_path: Path, bits: int | None
) -> None:
    folder = make_model(tmp_path / "m", LARGER, shard_bytes=20_000_000)
    shards = sorted(folder.glob("model-*.safetensors"))
    assert len(shards) > 2
    full_bytes = sum(shard.stat().st_size for shard in shards)
    beyond, finished = peak_beyond_the_model(
        ModelSource("m", LARGER, str(folder), False, Quantization(bits) if bits else None, KEYS)
    )
    assert beyond <= 8192 * 512 * 4
    # A group of 64 float32 has two of its own beside its packed bits.
    expected_bytes = full_bytes * (bits * 64 + 2 * 32) / (32 * 64) if bits else full_bytes
    assert finished == pytest.approx(expected_bytes, rel=0.01)


@pytest.mark.parametrize("bits", [2, 3, 4, 5, 6, 8])
def test_synthetic_weights_have_the_shapes_and_types_of_converted_ones(
    tmp_path: Path, bits: int
) -> None:
    architecture = {**LARGER, "num_hidden_layers": 2}
    made = weights.load(synthetic(architecture, Quantization(bits)))
    folder = convert_model(make_model(tmp_path / "full", architecture), tmp_path / "m", bits)
    config = {**architecture, "quantization": {"bits": bits, "group_size": 64}}
    loaded = weights.load(ModelSource("m", config, str(folder), False, None, KEYS))
    shapes = [
        {name: (array.shape, array.dtype) for name, array in tree_flatten(model.parameters())}
        for model in (made, loaded)
    ]
    assert shapes[0] == shapes[1]


@pytest.mark.parametrize("architecture", GROWING, ids=lambda each: str(each["model_type"]))
def test_growing_models_are_loaded_from_shards(
    tmp_path: Path, architecture: Mapping[str, Any]
) -> None:
    folder = make_model(tmp_path / "m", architecture, shard_bytes=400_000)
    assert missing_file(folder) is None
    model = weights.load(ModelSource("m", architecture, str(folder), False, None, KEYS))
    assert ("lm_head" in model) is not architecture["tie_word_embeddings"]
    assert mx.isfinite(model(mx.array([[1, 2, 3]]))).all().item()


@pytest.mark.parametrize(
    "stored",
    [
        {"bits": 4, "group_size": 32, "mode": "mxfp4"},
        {"bits": 8, "group_size": 32, "mode": "mxfp8"},
        {"bits": 4, "group_size": 16, "mode": "nvfp4"},
        {
            "bits": 4,
            "group_size": 64,
            "model.embed_tokens": {"bits": 8, "group_size": 32},
            "lm_head": False,
        },
    ],
    ids=["mxfp4", "mxfp8", "nvfp4", "mixed"],
)
def test_synthetic_weights_follow_the_quantization_of_a_config(stored: dict[str, Any]) -> None:
    architecture = {**LARGER, "num_hidden_layers": 2, "quantization": stored}
    source = synthetic(architecture, stored_quantization(architecture))
    beyond, _ = peak_beyond_the_model(source)
    assert beyond <= 8192 * 512 * 4
    model = weights.load(source)
    gate = model.layers[0].mlp.gate_proj
    assert (gate.bits, gate.group_size) == (stored["bits"], stored["group_size"])
    if "lm_head" in stored:
        assert model.model.embed_tokens.bits == 8
        assert model.lm_head.weight.dtype == mx.float32
    values = mx.dequantize(
        gate.weight,
        gate.scales,
        gate.get("biases"),
        group_size=gate.group_size,
        bits=gate.bits,
        mode=gate.mode,
    )
    assert values.std().item() == pytest.approx((1 / 512**0.5) / 3**0.5, rel=0.15)


def test_synthetic_weights_are_random_and_of_a_layers_usual_size() -> None:
    made = weights.load(synthetic(LARGER, Quantization(4)))
    layer = made.layers[0].mlp.gate_proj
    values = mx.dequantize(
        layer.weight, layer.scales, layer.biases, group_size=layer.group_size, bits=layer.bits
    )
    bound = 1 / 512**0.5
    assert abs(values.mean().item()) < bound / 20
    assert values.std().item() == pytest.approx(bound / 3**0.5, rel=0.1)
    assert len(set(layer.weight.reshape(-1)[:1000].tolist())) > 990
    assert not mx.array_equal(layer.weight, made.layers[1].mlp.gate_proj.weight)
    plain = weights.load(synthetic(LARGER)).layers[0].mlp.gate_proj.weight
    assert plain.std().item() == pytest.approx(bound / 3**0.5, rel=0.1)


@pytest.mark.parametrize(
    "architecture",
    [
        {**TINY, "model_type": "qwen2"},
        {**TINY, "model_type": "mistral"},
        {**TINY, "model_type": "gemma", "head_dim": 16},
        {
            "model_type": "gpt2",
            "n_ctx": 64,
            "n_embd": 64,
            "n_head": 4,
            "n_layer": 2,
            "n_positions": 64,
            "layer_norm_epsilon": 1e-5,
            "vocab_size": 256,
        },
        {
            **TINY,
            "model_type": "mixtral",
            "num_local_experts": 4,
            "num_experts_per_tok": 2,
        },
        {
            **TINY,
            "model_type": "phi3",
            "num_key_value_heads": 4,
            "rope_scaling": None,
        },
    ],
    ids=lambda architecture: str(architecture["model_type"]),
)
def test_any_architecture_of_mlx_lm_is_inspected_and_made(architecture: dict[str, Any]) -> None:
    before = mx.get_active_memory()
    found = weights.inspect(synthetic(architecture))
    assert mx.get_active_memory() - before < 10_000, "inspection allocates nothing"
    assert found.num_hidden_layers in (2, 4)
    assert found.lora_keys["qkvo"]
    model = weights.load(synthetic(architecture))
    arrays = [array for _, array in tree_flatten(model.parameters())]
    assert sum(array.size for array in arrays) == found.parameters
    assert all(mx.isfinite(array).all().item() for array in arrays)


MIXTRAL = {**TINY, "model_type": "mixtral", "num_local_experts": 4, "num_experts_per_tok": 2}

GEMMA3 = {
    **{key: value for key, value in TINY.items() if key != "tie_word_embeddings"},
    "model_type": "gemma3_text",
    "head_dim": 16,
}


def to_dtype(folder: Path, choose: Callable[[str], mx.Dtype]) -> None:
    """Store its weights anew, each in the type that is chosen by its name."""
    path = str(folder / "model.safetensors")
    tensors: Any = mx.load(path)
    mx.eval(tensors)
    mx.save_safetensors(path, {name: each.astype(choose(name)) for name, each in tensors.items()})


def estimated_weights(source: ModelSource) -> int | None:
    try:
        return estimate_trial(LoraConfig(1, 4, 2, 32), source, "cpu").weights_bytes
    except ModelError:
        return None


def in_memory(folder: Path, weights_choice: str) -> dict[str, Any]:
    """Shape and type of each array of the loaded model, which inspection foresaw to the byte."""
    model = resolve("m", folder, weights_choice, {})  # type: ignore[arg-type]  # one of its values
    source = model.source(model.quantization(None), KEYS)
    arrays = dict(tree_flatten(weights.load(source).parameters()))
    [sizes] = weights.inspect(source).sizes.values()
    held = sum(array.nbytes for array in arrays.values())
    assert sizes.weight_bytes == held
    # Read from headers, before any worker is there; without files there is no such figure.
    assert source.stored_bytes in (held, None)
    if weights_choice == "local":
        assert estimated_weights(source) == held or "num_local_experts" in source.architecture
    return {name: (array.shape, array.dtype) for name, array in arrays.items()}


@pytest.mark.parametrize(
    ("architecture", "choose"),
    [
        (TINY, lambda _: mx.float16),
        (TINY, lambda name: mx.float32 if "norm" in name else mx.bfloat16),
        (MIXTRAL, lambda name: mx.float32 if "gate" in name else mx.float16),
        (GEMMA3, lambda _: mx.bfloat16),
    ],
    ids=["all in float16", "norms in float32", "routers in float32", "no head"],
)
def test_synthetic_weights_are_those_of_the_folder_to_the_byte(
    tmp_path: Path, architecture: dict[str, Any], choose: Callable[[str], mx.Dtype]
) -> None:
    folder = make_model(tmp_path / "m", architecture)
    to_dtype(folder, choose)
    if architecture is GEMMA3:
        tensors: Any = mx.load(str(folder / "model.safetensors"))
        mx.eval(tensors)
        del tensors["lm_head.weight"]
        mx.save_safetensors(str(folder / "model.safetensors"), tensors)
    assert in_memory(folder, "synthetic") == in_memory(folder, "local")


@pytest.mark.parametrize("said", [{"bits": 8, "group_size": 64}, {"bits": 4, "group_size": 32}])
def test_bits_that_config_json_has_wrong_are_those_of_the_files(
    tmp_path: Path, said: dict[str, Any]
) -> None:
    folder = make_model(tmp_path / "m", bits=4)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "quantization": said}))
    model = resolve("m", folder, "local", {})
    assert model.quantization(None) == Quantization(4)
    assert in_memory(folder, "synthetic") == in_memory(folder, "local")


def test_a_folder_may_have_any_name(tmp_path: Path) -> None:
    folder = make_model(tmp_path / "a [b] 'c' \"d\" e::f #1 50% *? ünï")
    model = weights.load(ModelSource("m", dict(TINY), str(folder), False, None, KEYS))
    stored: Any = mx.load(str(folder / "model.safetensors"))
    assert mx.array_equal(
        model.model.embed_tokens.weight, stored["model.embed_tokens.weight"]
    ).item()


def test_weights_that_are_not_quantized_may_be_on_load(tmp_path: Path) -> None:
    folder = make_model(tmp_path / "m")
    config = {**TINY, "quantization": {"bits": 4, "group_size": 64}}
    (folder / "config.json").write_text(json.dumps(config))
    model = resolve("m", folder, "local", {})
    loaded = weights.load(model.source(model.quantization(Quantization(8)), KEYS))
    assert loaded.layers[0].mlp.gate_proj.bits == 8


@pytest.mark.parametrize("architecture", [MIXTRAL, GEMMA3, {**TINY, "tie_word_embeddings": True}])
@pytest.mark.parametrize("bits", [None, 4])
def test_without_files_they_are_as_large_as_converted_ones(
    tmp_path: Path, architecture: dict[str, Any], bits: int | None
) -> None:
    make_model(tmp_path / "full", architecture)
    if architecture is GEMMA3:
        path = tmp_path / "full" / "model.safetensors"
        tensors: Any = mx.load(str(path))
        mx.eval(tensors)
        del tensors["lm_head.weight"]
        mx.save_safetensors(str(path), tensors)
    folder = tmp_path / "full"
    if bits is not None:
        folder = convert_model(folder, tmp_path / "m", bits)
    local = in_memory(folder, "local")
    for file in folder.glob("*.safetensors*"):
        file.unlink()
    assert in_memory(folder, "synthetic") == local


def test_keys_of_the_quantization_that_name_no_module_are_named() -> None:
    stored = {
        "bits": 4,
        "group_size": 64,
        "lm_head": False,
        "model.layers.0.mlp.gte_proj": {"bits": 8, "group_size": 64},
        **{f"vision.{number}": False for number in range(9)},
    }
    [note] = weights.inspect(synthetic({**LARGER, "quantization": stored})).notes
    assert note == (
        "config.json: quantization: model.layers.0.mlp.gte_proj, vision.0, vision.1, vision.2, "
        "vision.3 and 5 more: no module of made has that name, so that it changes nothing"
    )


def test_they_are_named_too_where_the_weights_are_not_quantized(tmp_path: Path) -> None:
    folder = make_model(tmp_path / "m")
    stored = {"bits": 4, "group_size": 64, "lm_haed": False}
    (folder / "config.json").write_text(json.dumps({**TINY, "quantization": stored}))
    model = resolve("m", folder, "local", {})
    [note] = weights.inspect(model.source(model.quantization(None), KEYS)).notes
    assert note.startswith("config.json: quantization: lm_haed: no module of m has that name")


def test_experts_are_quantized_and_made_as_well() -> None:
    architecture = {
        **LARGER,
        "model_type": "mixtral",
        "num_local_experts": 4,
        "num_experts_per_tok": 2,
    }
    model = weights.load(synthetic(architecture, Quantization(4)))
    logits = model(mx.array([[1, 2, 3]]))
    assert mx.isfinite(logits).all().item()
    assert model.layers[0].block_sparse_moe.switch_mlp.gate_proj.weight.dtype == mx.uint32


def test_each_layer_is_inspected_as_full_fine_tuning_trains_it() -> None:
    [sizes] = weights.inspect(synthetic({**TINY, "num_hidden_layers": 3})).sizes.values()
    hidden, keys, inner = 64, 32, 256
    matrices = 2 * hidden * hidden + 2 * hidden * keys + 3 * hidden * inner
    layer = sizes.layers[0]
    assert sizes.layers == (layer,) * 3
    assert (layer.matrices, layer.parameters) == (7, matrices + 2 * hidden)
    assert layer.held_bytes == 4 * layer.parameters
    sides = 4 * hidden + 2 * (hidden + keys) + 3 * (hidden + inner)
    assert layer.factors == sides + 2 * hidden


CHOICES = ("all", "qkvo", "qv", "mlp.up_proj")


def test_each_choice_of_keys_is_inspected() -> None:
    found = weights.inspect(dataclasses.replace(synthetic(TINY), lora_keys=CHOICES))
    attention = tuple(f"self_attn.{each}_proj" for each in "koqv")
    mlp = tuple(f"mlp.{each}_proj" for each in ("down", "gate", "up"))
    assert found.lora_keys == {
        "all": (*mlp, *attention),
        "qkvo": attention,
        "qv": attention[2:],
        "mlp.up_proj": ("mlp.up_proj",),
    }
    assert found.sizes.keys() == found.lora_keys.keys()
    for choice, sizes in found.sizes.items():
        assert {linear.key for linear in sizes.linears} == set(found.lora_keys[choice])


@pytest.mark.parametrize(
    ("architecture", "expected"),
    [
        (TINY, ("self_attn.q_proj",)),
        ({**TINY, "model_type": "phi3"}, ("self_attn.o_proj", "self_attn.qkv_proj")),
    ],
)
def test_keys_that_are_not_required_give_way_to_the_usual_ones(
    architecture: dict[str, Any], expected: tuple[str, ...]
) -> None:
    source = synthetic(architecture, keys="self_attn.q_proj")
    source = dataclasses.replace(source, requires_lora_keys=False)
    assert weights.inspect(source).lora_keys == {"self_attn.q_proj": expected}


HYBRID: Mapping[str, Any] = {
    **TINY,
    "model_type": "lfm2",
    "norm_eps": 1e-5,
    "conv_bias": False,
    "conv_L_cache": 3,
    "block_dim": 64,
    "block_ff_dim": 96,
    "block_multiple_of": 32,
    "block_ffn_dim_multiplier": 1.5,
    "block_auto_adjust_ff_dim": True,
    "max_position_embeddings": 256,
    "layer_types": ["full_attention", "conv"] * 2,
}


def test_a_named_set_that_layers_lack_gives_way_where_nobody_asked_for_it() -> None:
    source = dataclasses.replace(synthetic(HYBRID), lora_keys=("qkvo", "all"))
    asked = weights.inspect(source)
    attention = ("k_proj", "out_proj", "q_proj", "v_proj")
    assert asked.lora_keys["qkvo"] == tuple(f"self_attn.{each}" for each in attention)
    assert asked.module_layers["self_attn.q_proj"] == (0, 2)
    assert asked.layers_without_adapters(LoraConfig(1, 8, 3, 64)) == (1, 3)
    assert not asked.trains_anything(LoraConfig(1, 8, 1, 64))
    assert asked.layers_without_adapters(LoraConfig(1, 8, 4, 64, lora_keys="all")) == ()
    found = weights.inspect(dataclasses.replace(source, requires_lora_keys=False))
    assert found.lora_keys["qkvo"] == found.lora_keys["all"] == asked.lora_keys["all"]
    assert found.trains_anything(LoraConfig(1, 8, 1, 64))


def test_a_model_that_lacks_a_package_says_which(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "hf_olmo", None)
    with pytest.raises(ModelError, match="cannot build olmo here: .*ai2-olmo; install"):
        weights.inspect(synthetic({"model_type": "olmo"}))


def test_keys_that_match_nothing_get_those_that_are_there() -> None:
    with pytest.raises(
        ModelError, match="nothing matches no module .*: use some of mlp.down_proj,"
    ):
        weights.inspect(synthetic(TINY, keys="nothing"))


@pytest.mark.parametrize(
    ("config", "part"),
    [
        ({"model_type": "no_such_type"}, "mlx-lm does not know it"),
        ({"model_type": "llama"}, "does not describe a llama model"),
    ],
)
def test_a_config_that_mlx_lm_cannot_build_is_refused(config: dict[str, Any], part: str) -> None:
    with pytest.raises(ModelError, match=part):
        weights.inspect(synthetic(config))


def test_a_folder_that_mlx_lm_cannot_load_is_named(tmp_path: Path) -> None:
    folder = make_model(tmp_path / "m")
    (folder / "model.safetensors").write_bytes(b"not safetensors")
    with pytest.raises(ModelError, match="cannot be loaded as mlx-lm does"):
        weights.load(ModelSource("m", TINY, str(folder), False, None, KEYS))


def test_weights_that_lack_tensors_are_refused_with_their_names(tmp_path: Path) -> None:
    folder = make_model(tmp_path / "m")
    stored: Any = mx.load(str(folder / "model.safetensors"))
    for name in ("lm_head.weight", "model.norm.weight"):
        del stored[name]
    mx.save_safetensors(str(folder / "model.safetensors"), stored)
    with pytest.raises(ModelError) as caught:
        weights.inspect(ModelSource("m", TINY, str(folder), False, None, KEYS))
    said = str(caught.value)
    assert "ValueError: Missing 2 parameters: lm_head.weight, model.norm.weight" in said
    assert "\n" not in said


def test_an_unknown_type_of_number_is_named() -> None:
    with pytest.raises(ModelError, match="torch_dtype: int8 is none of"):
        weights.load(synthetic({**TINY, "torch_dtype": "int8"}))

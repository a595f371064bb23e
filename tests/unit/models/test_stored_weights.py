"""What the headers of safetensors files say, against a config.json that says something else."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from pytest_yourai.core.config import Quantization
from pytest_yourai.models.resolve import resolve
from pytest_yourai.models.stored_weights import (
    StoredTensor,
    as_stored,
    read_tensors,
    stored_bytes,
)

CONFIG: Mapping[str, Any] = {
    "model_type": "llama",
    "hidden_size": 128,
    "intermediate_size": 256,
    "torch_dtype": "float32",
}


def plain(*dtypes: str) -> dict[str, StoredTensor]:
    return {f"{number}.weight": StoredTensor(each, (8, 8)) for number, each in enumerate(dtypes)}


def packed(
    bits: int, group_size: int, inputs: int = 128, scales: str = "BF16", name: str = "a"
) -> dict[str, StoredTensor]:
    return {
        f"{name}.weight": StoredTensor("U32", (8, inputs * bits // 32)),
        f"{name}.scales": StoredTensor(scales, (8, inputs // group_size)),
    }


def stored(bits: int, group_size: int, **others: Any) -> dict[str, Any]:
    return {**CONFIG, "quantization": {"bits": bits, "group_size": group_size, **others}}


@pytest.mark.parametrize(
    ("tensors", "expected"),
    [
        (plain("F16", "F16"), "float16"),
        (plain("BF16"), "bfloat16"),
        (plain("F32", "F8_E4M3"), "float32"),
        (plain("F16", "BF16"), "float32"),
        (plain("BF16", "BF16", "F32"), "float32"),
        (packed(4, 64, scales="F16"), "float16"),
    ],
)
def test_the_type_is_that_of_the_tensors_as_mlx_promotes_them(
    tensors: dict[str, StoredTensor], expected: str
) -> None:
    assert as_stored(CONFIG, tensors)["torch_dtype"] == expected


def test_single_tensors_of_another_type_count_only_where_mlx_lm_does_not_cast_them() -> None:
    config = {**CONFIG, "model_type": "nemotron_h"}
    assert as_stored(config, plain("BF16", "BF16", "F32"))["torch_dtype"] == "bfloat16"


def test_the_text_part_is_corrected_too() -> None:
    text = {"dtype": "float32", "hidden_size": 8}
    config = {"model_type": "gemma3", "dtype": "float32", "text_config": text}
    found = as_stored(config, plain("BF16"))
    assert found == {
        "model_type": "gemma3",
        "torch_dtype": "bfloat16",
        "text_config": {"hidden_size": 8},
    }


@pytest.mark.parametrize("tensors", [{}, plain("U8", "F8_E4M3")])
def test_without_a_type_of_mlx_lms_config_json_is_believed(
    tensors: dict[str, StoredTensor],
) -> None:
    assert as_stored(CONFIG, tensors) == CONFIG


@pytest.mark.parametrize("group_size", [32, 64, 128])
@pytest.mark.parametrize("bits", [2, 3, 4, 5, 6, 8])
def test_bits_and_group_size_are_those_of_the_files(bits: int, group_size: int) -> None:
    tensors = packed(bits, group_size) | packed(bits, group_size, 256, name="b")
    found = as_stored(stored(4, 64), tensors)["quantization"]
    assert (found["bits"], found["group_size"]) == (bits, group_size)
    same = stored(bits, group_size)
    assert as_stored(same, tensors)["quantization"] == same["quantization"]


@pytest.mark.parametrize(
    ("bits", "group_size", "mode"), [(4, 32, "mxfp4"), (8, 32, "mxfp8"), (4, 16, "nvfp4")]
)
def test_scales_in_bytes_are_of_another_mode(bits: int, group_size: int, mode: str) -> None:
    tensors = packed(bits, group_size, scales="U8")
    found = as_stored(stored(4, 64), tensors)["quantization"]
    assert found == {"bits": bits, "group_size": group_size, "mode": mode}


def test_the_general_entry_stays_where_a_module_has_it() -> None:
    config = stored(4, 64, b={"bits": 8, "group_size": 64})
    tensors = packed(4, 64) | packed(8, 64, name="b")
    assert as_stored(config, tensors)["quantization"] == config["quantization"]
    of_its_own = packed(8, 64, name="b")
    assert as_stored(config, of_its_own)["quantization"] == config["quantization"]


def test_weights_without_scales_are_not_quantized() -> None:
    config = {**stored(4, 64), "quantization_config": {"bits": 4}}
    found = as_stored(config, plain("F16"))
    assert "quantization" not in found
    assert "quantization_config" not in found
    assert as_stored(config, {}) == config


def test_a_folder_is_resolved_as_its_files_are(tmp_path: Path) -> None:
    config = {**CONFIG, "quantization": {"bits": 4, "group_size": 64}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    save_file({"a.weight": np.zeros((2, 3), np.float16)}, tmp_path / "model.safetensors")
    for weights in ("local", "synthetic"):
        model = resolve("m", tmp_path, weights, {})
        assert model.architecture["torch_dtype"] == "float16"
        assert model.quantization(None) is None


def test_bytes_are_those_of_the_language_model_without_a_tied_head() -> None:
    tensors = plain("F16", "F32") | packed(4, 64) | {"lm_head.weight": StoredTensor("F32", (9, 9))}
    body = 64 * 2 + 64 * 4 + 8 * 16 * 4 + 8 * 2 * 2
    assert stored_bytes(CONFIG, tensors) == body
    assert stored_bytes({**CONFIG, "tie_word_embeddings": False}, tensors) == body + 81 * 4
    parts = {f"language_model.{name}": each for name, each in tensors.items()} | tensors
    assert stored_bytes({"text_config": {}}, parts) == body
    assert stored_bytes({"text_config": {}}, tensors) is None
    assert stored_bytes(CONFIG, plain("F16", "F8_E4M3")) is None
    assert stored_bytes(CONFIG, {}) is None


def test_weights_that_are_quantized_on_load_have_no_stored_size(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    save_file({"a.weight": np.zeros((2, 3), np.float16)}, tmp_path / "model.safetensors")
    model = resolve("m", tmp_path, "local", {})
    assert model.source(None, ("qkvo",)).stored_bytes == 12
    assert model.source(Quantization(4), ("qkvo",)).stored_bytes is None
    (tmp_path / "model-00001-of-00002.safetensors").write_bytes(b"")
    assert resolve("m", tmp_path, "auto", {}).source(None, ("qkvo",)).stored_bytes is None


def header(text: bytes, length: int | None = None) -> bytes:
    return struct.pack("<Q", len(text) if length is None else length) + text


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"version https://git-lfs.github.com/spec/v1\n",
        header(b"{}", 1 << 62),
        header(b"{}", (1 << 64) - 1),
        header(b"{}", 99_999_999),
        header(b"[" * 100_000),
        header(b'{"a":{"dtype":"F32","shape":[4],"data_offsets":[-8,8]}}') + b"12345678",
        header(b'{"a":{"dtype":"F32","shape":[4],"data_offsets":[0,1152921504606846976]}}'),
        header(b'{"a":{"dtype":"F32","shape":[9223372036854775807,9],"data_offsets":[0,4]}}')
        + b"1234",
        header(b'{"a":{"dtype":"F99","shape":[1],"data_offsets":[0,4]}}') + b"1234",
    ],
    ids=range(10),
)
def test_hostile_headers_are_left_to_mlx_lm(tmp_path: Path, content: bytes) -> None:
    save_file({"good.weight": np.zeros(3)}, tmp_path / "model-1.safetensors")
    (tmp_path / "model-2.safetensors").write_bytes(content)
    assert read_tensors(tmp_path) == {}


def test_shapes_and_types_of_all_shards_are_read(tmp_path: Path) -> None:
    save_file({"a": np.zeros((2, 3), np.float32)}, tmp_path / "model-1.safetensors")
    save_file({"b": np.zeros(5, np.uint32)}, tmp_path / "model-2.safetensors")
    (tmp_path / "model-3.safetensors").mkdir()
    found = read_tensors(tmp_path)
    assert found == {"a": StoredTensor("F32", (2, 3)), "b": StoredTensor("U32", (5,))}

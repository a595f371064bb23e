from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import pytest_yourai
from pytest_yourai import InputError
from pytest_yourai.core.paths import packaged_models
from pytest_yourai.core.units import GB
from pytest_yourai.models.presets import read_presets

LLAMA_8B = read_presets(packaged_models())["llama-8b"].architecture or {}


def test_a_model_that_fits_is_recommended_in_a_safe_configuration() -> None:
    found = pytest_yourai.recommend("llama-8b", memory_gb=16, backend="metal")
    assert found.verdict == "fits"
    assert found.instead is None
    assert found.estimate.conservative_bytes * 1.15 <= 16 * GB
    assert found.config.rank == 64


def test_what_does_not_fit_is_answered_with_what_does() -> None:
    asked: dict[str, Any] = {"batch_size": 8, "rank": 16, "num_layers": "all", "memory_gb": 10}
    found = pytest_yourai.recommend("llama-8b", max_seq_length=1024, backend="metal", **asked)
    assert found.instead is not None
    assert found.asked.batch_size == 8
    assert found.config == found.instead.config != found.asked
    assert found.config.effective_batch_size == 8
    assert found.asked_bytes > 10 * GB > found.estimate.minimum_bytes * 1.15


def test_a_mapping_is_recommended_as_its_folder_is(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(LLAMA_8B))
    folder = pytest_yourai.recommend(tmp_path, memory_gb=40, rank=8)
    mapping = pytest_yourai.recommend(LLAMA_8B, memory_gb=40, rank=8)
    assert (mapping.config, mapping.estimate) == (folder.config, folder.estimate)
    assert mapping.name == "model"
    assert mapping.config.rank == 8


def test_the_budget_is_that_of_this_machine_where_none_is_given() -> None:
    assert pytest_yourai.recommend("tiny").verdict == "fits"


@pytest.mark.parametrize(
    ("model", "arguments", "message"),
    [
        ("nope", {}, "^nope is neither a preset nor a folder"),
        ("tiny", {"memory_gb": "x"}, "^memory_gb: 'x' is not valid"),
        ("tiny", {"backend": "tpu"}, "^backend: 'tpu' must be one of cpu, metal, cuda$"),
        ({"model_type": "llama"}, {"memory_gb": 9}, "^config.json: "),
    ],
)
def test_what_cannot_be_recommended_is_told(
    model: Any, arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        pytest_yourai.recommend(model, **arguments)

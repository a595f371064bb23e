from __future__ import annotations

from pathlib import Path

import pytest

from pytest_yourai.core.config import LoraConfig
from pytest_yourai.core.errors import MatrixError
from pytest_yourai.plan.safe_table import read_safe_table, safe_config

GB = 1_000_000_000
BILLION = 1e9


@pytest.mark.parametrize(
    ("billions", "memory_gb", "expected"),
    [
        (70, 16, (1, 16, 8)),
        (70, 39.9, (1, 16, 8)),
        (70, 40, (1, 24, 12)),
        (70, 60, (1, 24, 12)),
        (70, 60.1, (1, 32, 16)),
        (30.1, 512, (1, 32, 16)),
        (30, 512, (2, 48, 16)),
        (14, 19.9, (1, 32, 12)),
        (14, 20, (2, 48, 16)),
        (10, 8, (1, 32, 12)),
        (9.9, 8, (2, 64, 16)),
        (8, 512, (2, 64, 16)),
        (0.0003, 0.1, (2, 64, 16)),
    ],
)
def test_size_and_memory_decide(
    billions: float, memory_gb: float, expected: tuple[int, int, int]
) -> None:
    like = LoraConfig(1, 1, 1, 512)
    config = safe_config(billions * BILLION, round(memory_gb * GB), depth=80, like=like)
    assert (config.batch_size, config.rank, config.num_layers) == expected
    assert config.max_seq_length == 512
    assert not config.grad_checkpoint


@pytest.mark.parametrize(("depth", "layers"), [(None, 16), (4, 4), (16, 16), (32, 16)])
def test_layers_are_cut_to_the_models_depth(depth: int | None, layers: int) -> None:
    config = safe_config(
        7 * BILLION, 64 * GB, depth=depth, like=LoraConfig(1, 1, 1, 128, grad_checkpoint=True)
    )
    assert config.num_layers == layers
    assert config.max_seq_length == 128
    assert config.grad_checkpoint


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("", "safe.yaml:1: this is not a list of safe configurations"),
        ("batch_size: 1", "safe.yaml:1: this is not a list"),
        ("- {batch_size: 1, lora_rank: 8}", "safe.yaml:1: 0.lora_layers: this key is missing"),
        (
            "- {over: 3B, batch_size: 1, lora_rank: 8, lora_layers: 4}",
            "safe.yaml:1: 0.over: unknown key: the known ones are from_params, ",
        ),
        (
            "- {over_params: many, batch_size: 1, lora_rank: 8, lora_layers: 4}",
            "safe.yaml:1: 0.over_params: 'many' is not a number of parameters",
        ),
        (
            "- {under_gb: 8, batch_size: 1, lora_rank: 8, lora_layers: 4}",
            "safe.yaml:1: 0: the last row must match every model: remove its conditions",
        ),
    ],
)
def test_a_table_that_is_none_is_named_by_file_line_and_key(
    tmp_path: Path, text: str, part: str
) -> None:
    path = tmp_path / "safe.yaml"
    path.write_text(text)
    with pytest.raises(MatrixError) as problem:
        read_safe_table(path)
    assert part in str(problem.value)

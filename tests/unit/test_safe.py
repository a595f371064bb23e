from __future__ import annotations

import pytest

from pytest_yourai.safe import safe_configuration

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
    config = safe_configuration(
        billions * BILLION, round(memory_gb * GB), depth=80, max_seq_length=512
    )
    assert (config.batch_size, config.rank, config.num_layers) == expected
    assert config.max_seq_length == 512
    assert not config.grad_checkpoint


@pytest.mark.parametrize(("depth", "layers"), [(None, 16), (4, 4), (16, 16), (32, 16)])
def test_layers_are_cut_to_the_models_depth(depth: int | None, layers: int) -> None:
    config = safe_configuration(
        7 * BILLION, 64 * GB, depth=depth, max_seq_length=128, grad_checkpoint=True
    )
    assert config.num_layers == layers
    assert config.max_seq_length == 128
    assert config.grad_checkpoint

"""What mlx-lm trains is trained, whatever its type: a dozen of all types."""

import gc
from collections.abc import Iterator

import mlx.core as mx
import pytest

from support import model_types

REPRESENTATIVE = (
    "baichuan_m1",
    "deepseek_v3",
    "gemma4",
    "gpt2",
    "lfm2",
    "nemotron_h",
    "phi3",
    "plamo2",
    "qwen3_5",
    "qwen3_moe",
    "rwkv7",
)
"""Without `args`, low-rank, several parts, fused, hybrids, mixtures."""

LIMITED = {
    "bitnet": "makes adapters for no module of bitnet; name another model",
    "dbrx": "cannot train dbrx here: ValueError: [eval] Attempting to eval an array during "
    "function transformations like compile or vmap is not allowed; name another model",
    "recurrent_gemma": "cannot train recurrent_gemma: AttributeError: 'Model' object has no "
    "attribute '_no_grad'; name another model",
}
"""What mlx-lm cannot train, and the end of the sentence that says so."""


@pytest.fixture(autouse=True)
def _nothing_left() -> Iterator[None]:
    usual = mx.set_memory_limit(10**10)
    yield
    mx.set_memory_limit(usual)
    gc.collect()
    mx.clear_cache()


@pytest.mark.parametrize("name", REPRESENTATIVE)
def test_it_trains(name: str) -> None:
    found = model_types.sweep(name, [("qkvo", 1), ("all", model_types.LAYERS)])
    assert found.limit is None
    assert found.without_qkvo or not found.failed
    # A layer without attention gets none of its projections, and says so.
    assert all("not valid for this model, whose layers 3" in each for each in found.failed)


@pytest.mark.parametrize("name", LIMITED)
def test_what_cannot_be_trained_ends_in_one_sentence(name: str) -> None:
    limit = model_types.sweep(name).limit
    assert limit is not None
    assert limit.startswith("mlx-lm ")
    assert limit.endswith(LIMITED[name])

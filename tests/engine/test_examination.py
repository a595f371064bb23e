"""What an inspection refuses before anything is loaded, with the real engine in this process."""

import dataclasses
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import mlx.core as mx
import pytest
from mlx import nn
from mlx.utils import tree_flatten

from pytest_yourai.core.config import FineTuneType, LoraConfig, Optimizer
from pytest_yourai.core.errors import InputError, ModelError, RecipeError
from pytest_yourai.core.recipe import Recipe
from pytest_yourai.models.source import READ_BY_DEFAULT, Inspection, ModelSource, Wanted
from pytest_yourai.worker.engine import weights
from pytest_yourai.worker.engine.adapted_modules import matching_lora_keys
from pytest_yourai.worker.engine.adapters import BaseModel
from pytest_yourai.worker.engine.examination import examine
from pytest_yourai.worker.engine.mlx_engine import MlxEngine

from support.models import TINY

EXPERTS: Mapping[str, Any] = {
    **TINY,
    "model_type": "mixtral",
    "num_local_experts": 4,
    "num_experts_per_tok": 2,
}

BITNET: Mapping[str, Any] = {**TINY, "model_type": "bitnet"}

LORA = LoraConfig(2, 4, 2, 32)

FULL = LoraConfig(2, 0, 2, 32, fine_tune_type=FineTuneType.FULL, lora_keys="all")


def inspect(
    config: LoraConfig,
    recipe: Recipe | None = None,
    architecture: Mapping[str, Any] = TINY,
    file: str | None = "lora.yaml",
) -> Inspection:
    source = ModelSource("made", architecture, None, True, None, (config.lora_keys,))
    wanted = Wanted.of([config], recipe or Recipe(), file)
    before = mx.get_active_memory()
    try:
        return MlxEngine().inspect(source, None, READ_BY_DEFAULT, wanted=wanted)
    finally:
        assert mx.get_active_memory() - before < 100_000


def test_what_has_no_gradient_is_refused_in_one_sentence() -> None:
    class Untrainable(nn.Linear):  # type: ignore[misc]  # mlx is untyped
        def __call__(self, x: mx.array) -> mx.array:
            raise ValueError("[gather] no gradient\nwith respect to indices")

    source = ModelSource("made", TINY, None, True, None, ("qkvo", "mlp.up_proj"))
    model = weights.lazily(source)
    model.layers[-1].self_attn.o_proj = Untrainable(64, 64)
    found = weights.inspect(source, model)
    up = dataclasses.replace(LORA, lora_keys="mlp.up_proj")
    with pytest.raises(ModelError) as caught:
        examine(model, source, found, Wanted.of([LORA, up], Recipe()))
    assert re.fullmatch(
        r"mlx-lm [\d.]+ cannot train made here: ValueError: \[gather\] no gradient with respect to "
        "indices; name another model",
        str(caught.value),
    )


def test_where_fewer_modules_can_be_trained_they_are_named() -> None:
    class OnlyPlain(nn.Module):  # type: ignore[misc]  # mlx is untyped
        def __init__(self) -> None:
            super().__init__()
            self.up_proj = nn.Linear(64, 64)

        def __call__(self, x: mx.array) -> mx.array:
            out: mx.array = x @ self.up_proj.weight
            return out

    source = ModelSource("made", TINY, None, True, None, ("qkvo", "all"))
    model = weights.lazily(source)
    model.layers[-1].mlp = OnlyPlain()
    found = weights.inspect(source, model)
    everything = dataclasses.replace(LORA, lora_keys="all")
    examined = examine(model, source, found, Wanted.of([LORA, everything], Recipe()))
    assert examined.untrainable.keys() == {"lora all"}
    assert examined.untrainable["lora all"].endswith(
        "has no attribute 'weight'; use qkvo as lora_keys, or name another model"
    )


def test_a_model_that_cannot_be_frozen_is_refused() -> None:
    gemma = {
        **TINY,
        "model_type": "recurrent_gemma",
        "conv1d_width": 4,
        "logits_soft_cap": 30.0,
        "attention_window_size": 16,
        "attention_bias": False,
        "block_types": ["recurrent", "attention"],
    }
    source = ModelSource("made", gemma, None, True, None, ("qkvo",))
    with pytest.raises(ModelError, match="cannot train made: AttributeError: .*; name another"):
        MlxEngine().inspect(source, None, wanted=Wanted.of([LORA], Recipe()))


def test_a_model_without_modules_for_adapters_is_refused() -> None:
    source = ModelSource("made", BITNET, None, True, None, ("qkvo",))
    with pytest.raises(ModelError, match="makes adapters for no module of made; name another"):
        MlxEngine().inspect(source, None, wanted=Wanted.of([LORA], Recipe()))


def test_quantized_weights_are_not_trained_in_full() -> None:
    quantized = {**TINY, "quantization": {"bits": 4, "group_size": 64}}
    expected = "fine_tune_type full: .* the quantized weights of made.* use fine_tune_type lora"
    with pytest.raises(ModelError, match=expected):
        inspect(FULL, architecture=quantized)
    assert inspect(FULL).notes == ()
    dora = dataclasses.replace(LORA, fine_tune_type=FineTuneType.DORA)
    assert inspect(dora, architecture=quantized).notes == ()


def test_dora_is_refused_where_mlx_lm_has_none() -> None:
    dora = dataclasses.replace(LORA, fine_tune_type=FineTuneType.DORA)
    assert inspect(dora, architecture=EXPERTS).notes == ()
    expected = (
        r"fine_tune_type dora: .*SwitchLinear doesn't support DoRA.*: use fine_tune_type lora"
    )
    with pytest.raises(ModelError, match=expected):
        inspect(dataclasses.replace(dora, lora_keys="all"), architecture=EXPERTS)


@pytest.mark.parametrize(
    ("optimizer", "recipe", "expected"),
    [
        (Optimizer.ADAMW, {"optimizer_config": {"adamw": {"weight_decy": 1}}}, "adamw: .*_decy.*"),
        (Optimizer.ADAM, {"optimizer_config": {"adam": {"betas": 0.9}}}, "adam: .*betas"),
        (Optimizer.MUON, {"optimizer_config": {"muon": {"momentum": "high"}}}, "muon: "),
    ],
)
def test_arguments_that_an_optimizer_does_not_take_are_refused_by_file_and_key(
    optimizer: Optimizer, recipe: dict[str, Any], expected: str
) -> None:
    config = dataclasses.replace(LORA, optimizer=optimizer)
    with pytest.raises(RecipeError, match=f"^lora.yaml: optimizer_config: {expected}"):
        inspect(config, Recipe(**recipe))
    assert inspect(dataclasses.replace(LORA, optimizer=Optimizer.SGD), Recipe(**recipe))


@pytest.mark.parametrize("arguments", [[1e-5], [1e-5, 10, 0.0, 3], [[], 10]])
def test_arguments_that_a_schedule_does_not_take_are_refused_by_file_and_key(
    arguments: list[Any],
) -> None:
    schedule = {"name": "cosine_decay", "arguments": arguments}
    with pytest.raises(RecipeError, match=r"^lora.yaml: lr_schedule: cosine_decay does not take"):
        inspect(LORA, Recipe(lr_schedule=schedule))


@pytest.fixture
def adapters(tmp_path: Path) -> Path:
    """Adapters of two layers, of rank 4."""
    source = ModelSource("made", TINY, None, True, None, ("qkvo",))
    module = weights.lazily(source)
    module.freeze()
    model = BaseModel(module, source, matching_lora_keys(module, source), 0)
    path = tmp_path / "adapters.safetensors"
    with model.adapted(LORA, Recipe()):
        mx.save_safetensors(str(path), dict(tree_flatten(module.trainable_parameters())))
    return path


def test_a_resumed_file_is_told_by_how_much_of_it_matches(adapters: Path) -> None:
    recipe = Recipe(resume_adapter_file=str(adapters))
    [note] = inspect(LORA, recipe).notes
    assert note == "resume_adapter_file: 16 of its 16 arrays match"
    [note] = inspect(dataclasses.replace(LORA, num_layers=1), recipe).notes
    assert note == "resume_adapter_file: 8 of its 16 arrays match; mlx-lm passes over the others"


def test_a_resumed_file_of_something_else_is_refused(adapters: Path, tmp_path: Path) -> None:
    text = tmp_path / "text.safetensors"
    text.write_text("no adapters")
    for path, config, kind, expected in (
        (tmp_path / "none.safetensors", LORA, RecipeError, "^lora.yaml: .* cannot be read"),
        (text, LORA, RecipeError, "^lora.yaml: .* cannot be read"),
        (
            adapters,
            FULL,
            ModelError,
            "^lora.yaml: .*no array .* belongs to what this recipe trains",
        ),
        (adapters, dataclasses.replace(LORA, rank=8), ModelError, r"the shape .*4.* but .*8"),
    ):
        with pytest.raises(InputError, match=expected) as raised:
            inspect(config, Recipe(resume_adapter_file=str(path)))
        assert type(raised.value) is kind

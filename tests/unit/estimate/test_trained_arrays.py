"""What a recipe trains and what its optimizer keeps, counted by hand."""

from __future__ import annotations

import dataclasses

import pytest

from pytest_yourai.core.config import FineTuneType, LoraConfig, Optimizer
from pytest_yourai.estimate.trained_arrays import adapter_arrays, base_arrays
from pytest_yourai.models.architecture import InspectedShapes, LayerArrays
from pytest_yourai.models.architecture_reader import read_architecture_shapes
from pytest_yourai.models.layer_shapes import LinearShape

LINEARS = (LinearShape("self_attn.q_proj", 8, 12), LinearShape("mlp.down_proj", 16, 8))
BUILT = InspectedShapes(0, LINEARS, (0, 44, 44))
RANK = 3
LORA = LoraConfig(1, RANK, 2, 4)
LAYER = {"q_proj": (8, 8), "k_proj": (8, 4), "v_proj": (8, 4), "o_proj": (8, 8)}
SHAPES = read_architecture_shapes(
    {
        "model_type": "qwen2",
        "hidden_size": 8,
        "num_hidden_layers": 4,
        "intermediate_size": 16,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "vocab_size": 10,
        "torch_dtype": "bfloat16",
    }
)


def test_lora_trains_two_matrices_for_each_adapted_layer() -> None:
    trained = adapter_arrays(BUILT, LORA)
    assert (trained.layers, trained.matrices) == (2, 2 * 2 * 2)
    assert trained.parameters == 2 * RANK * (8 + 12 + 16 + 8)
    assert trained.held_bytes == 4 * trained.parameters, "float32 whatever the model is"


def test_dora_trains_a_magnitude_for_each_output_too() -> None:
    lora, dora = (
        adapter_arrays(BUILT, dataclasses.replace(LORA, fine_tune_type=kind))
        for kind in (FineTuneType.LORA, FineTuneType.DORA)
    )
    assert dora.parameters - lora.parameters == 2 * (12 + 8)
    assert dora.matrices == lora.matrices


def test_magnitudes_are_those_of_the_layers_own_outputs_where_layers_differ() -> None:
    built = dataclasses.replace(BUILT, adapted_outputs=(20, 7, 20))
    kinds = (FineTuneType.LORA, FineTuneType.DORA)
    configs = [dataclasses.replace(LORA, fine_tune_type=kind) for kind in kinds]
    lora, dora = (adapter_arrays(built, config) for config in configs)
    assert dora.parameters - lora.parameters == 7 + 20


def test_full_fine_tuning_trains_whole_layers_in_the_models_type() -> None:
    trained = base_arrays(BUILT, SHAPES, 3)
    matrices = sum(inputs * outputs for inputs, outputs in LAYER.values()) + 3 * 8 * 16
    vectors = 2 * 8 + (8 + 4 + 4)
    assert trained.parameters == 3 * (matrices + vectors)
    assert trained.held_bytes == 2 * trained.parameters
    assert (trained.layers, trained.matrices) == (3, 3 * 7)


def test_of_a_built_model_its_own_last_layers_are_counted() -> None:
    small = LayerArrays.of([((8, 4), 64), ((8,), 32)])
    large = LayerArrays.of([((2, 8, 4), 128), ((8,), 32)])
    assert large == LayerArrays(1, 2 * 8 * 4 + 8, 2 * (8 + 4) + 8, 160)
    built = dataclasses.replace(BUILT, layers=(small, small, large))
    trained = base_arrays(built, SHAPES, 2)
    assert (trained.layers, trained.matrices) == (2, 2)
    assert trained.parameters == (8 * 4 + 8) + (2 * 8 * 4 + 8)
    assert trained.factors == (8 + 4 + 8) + (2 * (8 + 4) + 8)
    assert trained.element_bytes == 2


@pytest.mark.parametrize("optimizer", Optimizer)
def test_optimizers_keep_arrays_of_the_trained_ones_size(optimizer: Optimizer) -> None:
    trained = adapter_arrays(BUILT, LORA)
    arrays = {"adam": 2, "adamw": 2, "muon": 1, "sgd": 1, "adafactor": 0}[optimizer]
    # Of each matrix adafactor keeps the means of its rows and of its columns.
    rows_and_columns = 2 * ((8 + RANK) + (RANK + 12) + (16 + RANK) + (RANK + 8))
    means = rows_and_columns if optimizer == "adafactor" else 0
    kept = trained.state_bytes(optimizer)
    assert kept == 4 * (arrays * trained.parameters + means)


def test_adafactor_keeps_a_vector_whole_and_a_first_moment_where_asked() -> None:
    trained = base_arrays(BUILT, SHAPES, 1)
    sides = sum(map(sum, LAYER.values())) + 3 * (8 + 16)
    vectors = 2 * 8 + (8 + 4 + 4)
    usual = trained.state_bytes(Optimizer.ADAFACTOR)
    assert usual == 2 * (sides + vectors)
    more = trained.state_bytes(Optimizer.ADAFACTOR, has_first_moment=True)
    assert more - usual == trained.held_bytes

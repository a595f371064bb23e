"""`yourai train --config`: what the recipe decides, and where the table says that it comes from."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from pytest_yourai.core.errors import InputError
from pytest_yourai.core.paths import packaged_models
from pytest_yourai.core.recipe import MLX_LM_DEFAULTS, Recipe
from pytest_yourai.training.auto_optimize import sweep_arguments
from pytest_yourai.training.options import TRAIN_FIELDS, TrainOptions
from pytest_yourai.training.resolve_settings import train_settings
from pytest_yourai.training.settings import TrainSettings
from pytest_yourai.training.start import completed

from support.profiles import DATA, document
from support.training import asked, saved, saved_by

RECIPE = """
model: tiny
batch_size: 2
num_layers: 2
iters: 30
steps_per_eval: 7
steps_per_report: 3
val_batches: 4
save_every: 9
max_seq_length: 48
learning_rate: 1e-4
adapter_path: out
lora_parameters: {rank: 4, scale: 1e1, dropout: 0.05}
lr_schedule: {name: cosine_decay, arguments: [1e-4, 30]}
test: true
"""


@pytest.fixture
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "lora.yaml"
    path.write_text(RECIPE)
    return path


def of_flags(**values: Any) -> TrainOptions:
    """As the command makes them."""
    usual = {
        each.name: None if each.default is dataclasses.MISSING else each.default
        for each in TRAIN_FIELDS
    }
    return completed({**usual, "weights": "synthetic", **values})


def settled(options: TrainOptions) -> TrainSettings:
    return train_settings(options, lambda _: None)


def origins(settings: TrainSettings) -> dict[str, tuple[str, str]]:
    return {each.name: (each.value, each.origin) for each in settings.used}


def test_it_is_taken_whole_and_each_value_has_its_origin(recipe: Path) -> None:
    options = of_flags(config=recipe, batch_size=3)
    assert (options.model, options.adapter_path) == ("tiny", recipe.parent / "out")
    settings = settled(options)
    config, parameters = settings.config, settings.parameters
    assert (config.batch_size, config.rank, config.num_layers) == (3, 4, 2)
    assert (config.max_seq_length, config.dropout, config.lora_keys) == (48, 0.05, "all")
    assert settings.recipe == Recipe(
        scale=10.0,
        learning_rate=1e-4,
        lr_schedule={
            "name": "cosine_decay",
            "arguments": [1e-4, 30],
            "warmup": 0,
            "warmup_init": 0.0,
        },
    )
    assert (parameters.max_steps, parameters.steps_per_eval) == (30, 7)
    assert (parameters.val_batches, parameters.save_every) == (4, 9)
    assert settings.memory_report_interval == 3
    used = origins(settings)
    assert used["model"][1] == used["max_steps"][1] == used["lora_rank"][1] == "lora.yaml"
    assert used["batch_size"] == ("3", "--batch-size")
    assert used["seed"] == ("0", "default")
    assert used["lora_scale"] == ("10.0", "lora.yaml")
    assert used["lr_schedule"][1] == "lora.yaml"
    assert "mask_prompt" not in used
    assert "lora.yaml: test: nothing is tested here: run mlx_lm.lora --test with the adapters" in (
        settings.warnings
    )


def test_a_profile_names_the_model_that_no_flag_names(recipe: Path) -> None:
    profile = recipe.parent / "p.json"

    def named(of: str = "llama-8b", **settings: str) -> TrainOptions:
        found = document(lambda found: found["settings"].update(settings))
        profile.write_text(json.dumps({**found, "model": of}))
        return of_flags(profile=profile)

    assert named().model == "llama-8b"
    assert named().presets == packaged_models()
    assert named("mine", model="./mine").model == "./mine"
    assert of_flags(profile=profile, model="tiny").model == "tiny"
    assert of_flags(profile=profile, config=recipe).model == "tiny"
    own = named("mine", model="owner/mine", presets_file="mine.yaml")
    assert (own.model, own.presets) == ("mine", recipe.parent / "mine.yaml")
    with pytest.raises(InputError, match=r"--model is missing"):
        named("mine")
    with pytest.raises(InputError, match=r"p\.json: settings: .* by --model"):
        named("mine", model="m" * 9999)
    several = DATA / "h200_benchmark_full.json"
    with pytest.raises(InputError, match=r"has hermes-mistral-7b, .*: name one of them by --model"):
        of_flags(profile=several)


def test_a_model_must_be_named_by_flag_or_recipe(recipe: Path) -> None:
    assert of_flags(model="mine", config=recipe, adapter_path=Path("/a")).model == "mine"
    assert of_flags(model="tiny").adapter_path == recipe.parent / "adapters"
    with pytest.raises(InputError, match=r"--model is missing: name a preset, .*/name$"):
        of_flags()
    recipe.write_text("iters: 3\n")
    with pytest.raises(InputError, match=r"or add a line with model: to .*lora\.yaml$"):
        of_flags(config=recipe)
    recipe.write_text('model: tiny\nadapter_path: "a\\0"\n')
    with pytest.raises(InputError, match=r"lora\.yaml: adapter_path: 'a\\x00' is not valid"):
        of_flags(config=recipe)


def test_rows_of_an_update_follow_from_the_batch_size(recipe: Path) -> None:
    recipe.write_text("model: tiny\nbatch_size: 2\neffective_batch_size: 8\n")
    assert settled(of_flags(config=recipe)).config.grad_accumulation_steps == 4
    given = of_flags(config=recipe, grad_accumulation_steps=3)
    assert settled(given).config.grad_accumulation_steps == 3
    with pytest.raises(InputError, match=r"effective_batch_size: 8 .* of 3 \(--batch-size\): give"):
        settled(of_flags(config=recipe, batch_size=3))


def test_services_of_a_recipe_are_looked_at_first(recipe: Path) -> None:
    recipe.write_text("model: tiny\nreport_to: nowhere\n")
    with pytest.raises(InputError, match="mlx-lm does not report to 'nowhere'"):
        settled(of_flags(config=recipe))


def test_data_sets_of_a_recipe_are_named(recipe: Path) -> None:
    recipe.write_text("model: tiny\nhf_dataset:\n- path: a/b\n- path: c\n")
    # Of the preset without a tokenizer.
    with pytest.raises(InputError, match="tiny has no tokenizer"):
        settled(of_flags(config=recipe))


def test_a_run_resumes_with_its_own_recipe_alone(recipe: Path) -> None:
    settings = settled(of_flags(config=recipe))
    folder = saved_by(settings)
    resumed = of_flags(config=recipe, adapter_path=folder, resume=True)
    assert settled(resumed).recipe == settings.recipe
    assert origins(settled(resumed))["lora_scale"] == ("10.0", "checkpoint")
    recipe.write_text(RECIPE.replace("arguments: [1e-4, 30]", "arguments: [1e-4, 99]"))
    with pytest.raises(InputError, match=r"--config: the checkpoint was trained with lr_schedule "):
        settled(resumed)
    assert settled(dataclasses.replace(resumed, config=None)).recipe == settings.recipe


def test_data_sets_of_a_checkpoint_are_read_again(tmp_path: Path) -> None:
    hub = {**dataclasses.asdict(MLX_LM_DEFAULTS), "hf_dataset": [{"path": "a/b"}]}
    folder = saved(tmp_path, data="hf_dataset a/b", recipe=hub)
    with pytest.raises(InputError, match="tiny has no tokenizer"):
        settled(asked(tmp_path, adapter_path=folder, resume=True))


def test_the_sweep_before_gets_it_and_the_axes_of_flags(recipe: Path) -> None:
    options = of_flags(config=recipe, auto_optimize=True, rank=16, num_layers=-1)
    arguments = list(sweep_arguments(options))
    assert {
        "--yourai-model=tiny",
        f"--yourai-config={recipe}",
        "--yourai-rank=16",
        "--yourai-num-layers=-1",
    } <= set(arguments)

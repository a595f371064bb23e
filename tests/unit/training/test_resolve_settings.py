"""What a training run uses, where it comes from, and what is refused before anything is loaded."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import psutil
import pytest
from mlx_lm.lora import CONFIG_DEFAULTS

from pytest_yourai.core.config import FineTuneType, LoraConfig, Optimizer, Quantization
from pytest_yourai.core.errors import InputError, OptionError
from pytest_yourai.core.hosts import HostGroup
from pytest_yourai.core.recipe import MLX_LM_DEFAULTS, Recipe
from pytest_yourai.machine import environment
from pytest_yourai.training.option_values import VALUE_OPTIONS
from pytest_yourai.training.resolve_settings import train_settings
from pytest_yourai.training.settings import TrainSettings

from support.hub import bare_model
from support.models import TINY
from support.training import asked, rows_folder, saved, saved_by


def settled(folder: Path, **values: Any) -> TrainSettings:
    said: list[str] = []
    settings = train_settings(asked(folder, **values), said.append)
    assert not said
    return settings


def origins(settings: TrainSettings) -> dict[str, tuple[str, str]]:
    return {each.name: (each.value, each.origin) for each in settings.used}


def profile(folder: Path, name: str = "optimal_config.json", **values: Any) -> Path:
    """One of tiny, measured here: batch 2, rank 16, 4 layers, 48 tokens."""
    row = {
        "batch_size": 2,
        "lora_rank": 16,
        "lora_layers": 4,
        "max_seq_length": 48,
        "grad_checkpoint": True,
        "peak_memory_mb": 12.5,
        "minimum_memory_mb": 9.5,
        "step_time_ms": 40.0,
        "success": True,
        "error": None,
    }
    document = {
        "schema_version": 1,
        "model": "tiny",
        **{f"optimal_{key}": row[key] for key in list(row)[:5]},
        "memory_limit_gb": 3.0,
        "settings": {"quantization": {"bits": 4}, "lora_keys": ["self_attn.q_proj"]},
        "environment": {
            "chip": environment.chip(),
            "backend": environment.installed_backend(),
            "system_memory_bytes": psutil.virtual_memory().total,
            "versions": environment.versions(),
        },
        "all_results": [row],
        **values,
    }
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(json.dumps(document))
    return path


def test_the_defaults_are_those_of_mlx_lm() -> None:
    defaults = {name: each.default for name, each in VALUE_OPTIONS.items()}
    theirs = {
        **CONFIG_DEFAULTS,
        "bad_rows": "refuse",
        "keep": "both",
        "patience": 0,
        "max_skipped_batches": 10,
        "max_steps": CONFIG_DEFAULTS["iters"],
        "memory_report_interval": CONFIG_DEFAULTS["steps_per_report"],
        **CONFIG_DEFAULTS["lora_parameters"],
        "lora_keys": CONFIG_DEFAULTS["lora_parameters"].get("keys", "all"),
    }
    known = {name: value for name, value in defaults.items() if value is not None}
    assert known == {name: theirs[name] for name in known}
    assert len(known) == 21


def test_without_a_profile_the_defaults_hold_and_nothing_is_promised(tmp_path: Path) -> None:
    settings = settled(tmp_path)
    assert settings.config == LoraConfig(4, 8, 4, 64, lora_keys="all")
    assert settings.recipe == MLX_LM_DEFAULTS
    assert settings.source.quantization is None
    assert settings.source.synthetic
    assert settings.data is None
    assert (
        settings.parameters.max_steps,
        settings.parameters.save_every,
        settings.parameters.val_batches,
    ) == (1000, 100, 25)
    assert settings.parameters.reload_interval is None
    assert settings.memory_limit_bytes is None
    assert settings.baseline is None
    used = origins(settings)
    assert used["batch_size"] == ("4", "default")
    assert used["lora_layers"] == ("4", "default, cut to the 4 layers of the model")
    assert used["expected peak"] == ("not known", "nothing was measured for this configuration")
    assert settings.warnings == (
        "a dry run: weights and rows are made up, and the adapters are of no use",
    )


def test_a_profile_wins_over_defaults_and_keeps_its_promise(tmp_path: Path) -> None:
    settings = settled(tmp_path, profile=profile(tmp_path))
    assert settings.config == LoraConfig(
        2, 16, 4, 48, grad_checkpoint=True, lora_keys="self_attn.q_proj"
    )
    assert settings.source.quantization == Quantization(4)
    assert settings.source.lora_keys == ("self_attn.q_proj",)
    assert settings.memory_limit_bytes == 3_000_000_000
    assert settings.baseline is not None
    assert settings.baseline.peak_memory_bytes == 12_500_000
    assert settings.baseline.step_time_s == 0.04
    used = origins(settings)
    assert used["lora_rank"] == ("16", "optimal_config.json")
    assert used["grad_checkpoint"] == ("on", "optimal_config.json")
    assert used["quantization"] == ("4-bit", "optimal_config.json")
    assert used["budget"] == ("3.0 GB", "optimal_config.json")
    assert used["expected peak"] == ("12.5 MB", "optimal_config.json")
    assert used["learning_rate"] == ("1e-05", "default")
    assert len(settings.warnings) == 1


def test_flags_win_over_the_profile(tmp_path: Path) -> None:
    settings = settled(
        tmp_path,
        profile=profile(tmp_path),
        batch_size=1,
        grad_checkpoint=False,
        quantize="none",
        memory_limit_bytes=2_000_000_000,
    )
    assert settings.config == LoraConfig(1, 16, 4, 48, lora_keys="self_attn.q_proj")
    assert settings.source.quantization is None
    assert settings.memory_limit_bytes == 2_000_000_000
    assert settings.baseline is None
    used = origins(settings)
    assert used["batch_size"] == ("1", "--batch-size")
    assert used["grad_checkpoint"] == ("off", "--no-grad-checkpoint")
    assert used["quantization"] == ("not quantized", "--quantize")
    assert used["budget"] == ("2.0 GB", "--max-memory")
    assert "has no row with batch 1, checkpoint off: the rest is that of" in settings.warnings[1]
    assert "with other weights (4-bit in groups of 64, here not quantized)" in settings.warnings[2]


def test_nothing_is_promised_for_other_weights_or_keys(tmp_path: Path) -> None:
    path = profile(tmp_path)
    assert settled(tmp_path, profile=path, quantize="none").baseline is None
    assert settled(tmp_path, profile=path, lora_keys="self_attn.v_proj").baseline is None
    assert settled(tmp_path, profile=path, lora_keys="self_attn.q_proj").baseline is not None


def test_another_machines_budget_is_not_taken_over(tmp_path: Path) -> None:
    path = profile(tmp_path, environment={"chip": "Apple M9"})
    settings = settled(tmp_path, profile=path)
    assert settings.memory_limit_bytes is None
    assert settings.baseline is not None
    assert "on another machine" in settings.warnings[1]


def test_another_models_keys_are_not_taken_over(tmp_path: Path) -> None:
    settings = settled(tmp_path, profile=profile(tmp_path, model="somebody-7b"))
    assert settings.config.rank == 16
    assert settings.config.lora_keys == "all"
    assert settings.baseline is None
    assert "with another model (somebody-7b, not tiny)" in settings.warnings[1]


def test_weights_that_come_quantized_stay_so(tmp_path: Path) -> None:
    stored = {**TINY, "quantization": {"bits": 8, "group_size": 32}}
    folder = bare_model(tmp_path / "tiny", stored)
    data = str(rows_folder(tmp_path / "data"))
    values = {"model": str(folder), "weights": "local", "data": data}
    settings = settled(tmp_path, profile=profile(tmp_path), **values)
    assert settings.source.quantization == Quantization(8, 32)
    assert settings.source.folder == str(folder)
    assert not settings.source.synthetic
    assert origins(settings)["quantization"] == ("8-bit", "its weights")
    assert len(settings.warnings) == 1
    with pytest.raises(InputError, match="quantized already"):
        settled(tmp_path, quantize=Quantization(4), **values)


def test_a_resumed_run_is_that_of_its_checkpoint(tmp_path: Path) -> None:
    settings = settled(tmp_path, adapter_path=saved(tmp_path), resume=True, max_steps=500)
    keys = "self_attn.q_proj,self_attn.v_proj"
    assert settings.config == LoraConfig(2, 4, 3, 32, lora_keys=keys)
    assert settings.source.lora_keys == (keys,)
    assert settings.recipe == Recipe(learning_rate=2e-5, seed=7)
    assert settings.parameters.max_steps == 500
    assert settings.first_step == 40
    used = origins(settings)
    assert used["batch_size"] == ("2", "checkpoint")
    assert used["max_steps"] == ("500", "--max-steps")
    assert used["grad_checkpoint"] == ("off", "default")


def test_resume_keeps_what_the_run_was_given(tmp_path: Path) -> None:
    given = {
        "save_every": 7,
        "reload_interval": 20,
        "steps_per_eval": 9,
        "val_batches": -1,
    }
    first = settled(tmp_path, profile=profile(tmp_path), memory_report_interval=3, **given)
    path = saved_by(first)
    (path / "optimal_config.json").write_text("torn")
    resumed = settled(tmp_path, resume=True)
    assert {name: getattr(resumed.parameters, name) for name in given} == given
    assert resumed.memory_report_interval == 3
    assert resumed.config == first.config
    assert resumed.baseline == first.baseline is not None
    assert resumed.memory_limit_bytes == 3_000_000_000
    assert resumed.source.quantization == Quantization(4)
    assert resumed.about == first.about
    used = origins(resumed)
    assert used["save_every"] == ("7", "checkpoint")
    assert used["reload_interval"] == ("20", "checkpoint")
    assert used["budget"] == ("3.0 GB", "checkpoint")
    assert used["expected peak"] == ("12.5 MB", "checkpoint")
    changed = settled(tmp_path, resume=True, save_every=8, memory_limit_bytes=10**9)
    assert (changed.parameters.save_every, changed.memory_limit_bytes) == (8, 10**9)
    assert settled(tmp_path, resume=True, grad_checkpoint=False).baseline is None


def test_resume_keeps_the_recipe(tmp_path: Path) -> None:
    recipe = Recipe(
        scale=16.0,
        learning_rate=3e-5,
        lr_schedule={"name": "cosine_decay", "arguments": [3e-5, 1000]},
        optimizer_config={"adamw": {"weight_decay": 0.1}},
        seed=5,
        hf_dataset=({"path": "mlx-community/wikisql"},),
    )
    config = LoraConfig(
        *(2, 0, 3, 32),
        fine_tune_type=FineTuneType.FULL,
        optimizer=Optimizer.ADAMW,
        lora_keys="all",
        grad_accumulation_steps=2,
    )
    saved_by(dataclasses.replace(settled(tmp_path), config=config, recipe=recipe))
    resumed = settled(tmp_path, resume=True)
    assert (resumed.config, resumed.recipe) == (config, recipe)
    with pytest.raises(InputError, match="--fine-tune-type: .* with full, not with lora"):
        settled(tmp_path, resume=True, fine_tune_type=FineTuneType.LORA)


def test_resume_reports_to_the_same_service(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "wandb.py").touch()
    saved(tmp_path, report_to="wandb", project_name="mine")
    resumed = settled(tmp_path, resume=True)
    assert (resumed.parameters.report_to, resumed.parameters.project_name) == ("wandb", "mine")
    assert settled(tmp_path, resume=True, project_name="other").parameters.project_name == "other"


def test_a_limit_that_the_machine_does_not_have_is_detected_anew(tmp_path: Path) -> None:
    huge_gb = 10_000_000
    settings = settled(tmp_path, profile=profile(tmp_path, memory_limit_gb=huge_gb))
    assert settings.memory_limit_bytes is None
    assert settings.warnings[-1].startswith("the budget of 10,000,000.0 GB (optimal_config.js")
    saved(tmp_path, memory_limit_bytes=huge_gb * 10**9)
    resumed = settled(tmp_path, resume=True)
    assert resumed.memory_limit_bytes is None
    assert "GB (checkpoint) is more than this" in resumed.warnings[-1]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"weights": "local"}, "--data is missing: name a folder"),
        ({"quick": True}, "--quick is for the sweep before training: add --auto-optimize"),
        ({"matrix": Path("m.yaml")}, "--matrix is for the sweep before training"),
        ({"auto_optimize": True, "profile": Path("p")}, "--profile and --auto-optimize both"),
        ({"auto_optimize": True, "resume": True}, "leave --auto-optimize out"),
        (
            {"auto_optimize": True, "quick": True, "matrix": Path("m")},
            "--quick and --matrix both name a matrix",
        ),
        ({"auto_optimize": True, "matrix": Path("/gone.yaml")}, "/gone.yaml does not exist"),
        ({"profile": Path("/gone.json")}, "/gone.json cannot be read: No such file"),
        ({"project_name": "p"}, "--project-name needs a service"),
        (
            {"report_to": "wandb,other"},
            "--report-to: (wandb is not installed|mlx-lm does not report to 'other')",
        ),
        ({"report_to": "tensorboard"}, "mlx-lm does not report to 'tensorboard': name wandb"),
        ({"report_to": "swanlab"}, "--report-to: swanlab is not installed: pip install swanlab"),
        ({"model": "tinny"}, "did you mean tiny"),
        (
            {"fine_tune_type": FineTuneType.FULL, "quantize": Quantization(4)},
            "^--fine-tune-type: full fine-tuning cannot train the 4-bit .*--quantize none",
        ),
        ({"presets": Path("/gone.yaml")}, "/gone.yaml does not exist"),
        (
            {"max_steps": 3, "grad_accumulation_steps": 4},
            r"--max-steps: 3 steps \(--max-steps\) change nothing, as gradients accumulate over 4",
        ),
    ],
)
def test_what_cannot_be_as_asked_is_one_sentence(
    tmp_path: Path, values: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message) as caught:
        settled(tmp_path, **values)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "adapters").exists()


def test_steps_after_the_last_update_are_named(tmp_path: Path) -> None:
    uneven = settled(tmp_path, max_steps=10, grad_accumulation_steps=4)
    assert "of 10 steps the last 2 change nothing" in uneven.warnings[-1]
    assert "a --max-steps of 8 trains the same" in uneven.warnings[-1]
    even = settled(tmp_path, max_steps=8, grad_accumulation_steps=4)
    assert not [each for each in even.warnings if "change nothing" in each]


def test_a_matrix_of_nulls_is_refused_before_the_sweep(tmp_path: Path) -> None:
    matrix = tmp_path / "nulls.yaml"
    matrix.write_text("batch_size: null\nlora_rank: null\nlora_layers: null\n")
    with pytest.raises(InputError, match=r"nulls.yaml:1: batch_size: .*list \(found None\)"):
        settled(tmp_path, auto_optimize=True, matrix=matrix)


@pytest.mark.parametrize("values", [{}, {"batch_size": 9}])
def test_there_must_be_as_many_rows_as_a_step_takes(tmp_path: Path, values: Any) -> None:
    folder = bare_model(tmp_path / "model", TINY)
    local = {"model": str(folder), "weights": "local", **values}
    few = rows_folder(tmp_path / "few", rows=3 if not values else 8)
    with pytest.raises(InputError, match="rows are fewer than the batch size"):
        settled(tmp_path, data=str(few), **local)
    enough = rows_folder(tmp_path / "enough", rows=4 if not values else 9)
    assert settled(tmp_path, data=str(enough), **local).data == str(enough)


def test_nothing_is_downloaded_for_a_run_that_cannot_be(tmp_path: Path) -> None:
    few = str(rows_folder(tmp_path / "few", rows=3))
    said: list[str] = []
    with pytest.raises(InputError, match="3 rows are fewer than the batch size of 4"):
        train_settings(asked(tmp_path, model="llama-8b", weights="hub", data=few), said.append)
    assert not said


def test_bad_rows_are_named_by_their_line(tmp_path: Path) -> None:
    data = rows_folder(tmp_path)
    with (data / "train.jsonl").open("a") as file:
        file.write("{\n")
    with pytest.raises(InputError, match=r"train.jsonl:9: it is not valid JSON"):
        settled(tmp_path, data=str(data))


def test_text_has_no_prompt_to_mask(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--mask-prompt: .* has rows of text"):
        settled(tmp_path, data=str(rows_folder(tmp_path)), mask_prompt=True)


def test_data_needs_a_tokenizer(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="tiny has no tokenizer"):
        settled(tmp_path, data=str(rows_folder(tmp_path)))


def test_weights_are_not_made_up_by_accident(tmp_path: Path) -> None:
    data = str(rows_folder(tmp_path))
    with pytest.raises(InputError, match="add --yourai-weights=hub to download"):
        settled(tmp_path, model="llama-8b", weights="local", data=data)


def test_ranks_are_among_what_is_used(tmp_path: Path) -> None:
    settings = settled(tmp_path, hosts=HostGroup.here(2))
    assert (settings.ranks, settings.hosts) == (2, HostGroup.here(2))
    assert origins(settings)["hosts"] == ("2 ranks on this machine", "--hosts")
    assert settled(tmp_path).ranks == 1


def test_a_batch_that_ranks_cannot_share_is_refused_wherever_it_comes_from(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=r"3 ranks cannot share a batch of 4 rows \(default\)"):
        settled(tmp_path, hosts=HostGroup.here(3))

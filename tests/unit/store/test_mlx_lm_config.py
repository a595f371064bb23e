"""What mlx-lm reads in the file is what was measured.

mlx_lm is imported here, at the top, on purpose: see support.models.
"""

from __future__ import annotations

import dataclasses
import functools
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import example, given
from mlx_lm.lora import CONFIG_DEFAULTS, yaml_loader

from pytest_yourai.core.config import ALL_KEYS, LoraConfig, Optimizer, Quantization
from pytest_yourai.core.device import DeviceInfo
from pytest_yourai.core.outcomes import Outcome
from pytest_yourai.core.recipe import ITERATIONS, MLX_LM_DEFAULTS, Recipe
from pytest_yourai.core.redaction import Redactor
from pytest_yourai.core.results import TrialResult
from pytest_yourai.models.mlx_lm_command import is_pattern
from pytest_yourai.models.model import Model
from pytest_yourai.store import mlx_lm_config
from pytest_yourai.store.mlx_lm_config import LoraConfigFile
from pytest_yourai.store.recipe_writing import GivenRecipe

from support.models import make_data, write_rows
from support.texts import TEXTS, matching

MODEL = Model("mine", "mine", weights="local", folder=Path("/models/mine"))
FILE = LoraConfigFile(
    name="lora.yaml",
    model=MODEL,
    weights="local 4-bit",
    optimum=TrialResult(
        "mine",
        LoraConfig(4, 64, 16, 512, grad_checkpoint=True),
        Outcome.OK,
        step_times_s=(0.5,),
        step_tokens=(2044,),
        minimum_memory_bytes=12_100_000_000,
        peak_memory_bytes=15_200_000_000,
    ),
    device=DeviceInfo("metal", "Apple M3 Max", None, None, "0.32.4", "0.32.2"),
    version="0.1.0",
    memory_limit_bytes=23_000_000_000,
    lora_keys=("self_attn.q_proj", "self_attn.v_proj"),
    recipe=Recipe(),
    data="/data/mine",
    convert_to=None,
    replay=None,
    trust_remote_code=False,
)


def test_a_model_whose_path_is_a_pattern_is_named_from_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    model = dataclasses.replace(MODEL, folder=Path("/my models/mine[1]"))
    file = dataclasses.replace(FILE, model=model, name="out dir/lora.yaml")
    found = read(file)
    assert (found["model"], found["data"]) == (".", "/data/mine")
    assert found["adapter_path"] == str(tmp_path / "adapters")
    assert (
        "# Run it with: (cd '/my models/mine[1]' && mlx_lm.lora "
        f"--config '{tmp_path}/out dir/lora.yaml')\n"
    ) in file.text()
    assert "adapter_path" not in read(FILE)


def read(file: LoraConfigFile) -> dict[str, Any]:
    """As mlx_lm.lora does."""
    found: dict[str, Any] = yaml.load(file.text(), yaml_loader)  # noqa: S506 - a SafeLoader
    return found


def comments(file: LoraConfigFile) -> str:
    return " ".join(line[2:] for line in file.text().splitlines() if line.startswith("# "))


def test_mlx_lm_reads_what_was_measured() -> None:
    assert read(FILE) == {
        "model": "/models/mine",
        "train": True,
        "fine_tune_type": "lora",
        "data": "/data/mine",
        "num_layers": 16,
        "batch_size": 4,
        "max_seq_length": 512,
        "grad_checkpoint": True,
        "lora_parameters": {
            "rank": 64,
            "scale": MLX_LM_DEFAULTS.scale,
            "dropout": 0.0,
            "keys": ["self_attn.q_proj", "self_attn.v_proj"],
        },
        "learning_rate": MLX_LM_DEFAULTS.learning_rate,
        "optimizer": Optimizer.ADAM,
        "iters": ITERATIONS,
        "seed": MLX_LM_DEFAULTS.seed,
    }
    assert set(read(FILE)) <= set(CONFIG_DEFAULTS)


def test_what_nobody_chose_is_mlx_lms_default() -> None:
    assert tuple(
        CONFIG_DEFAULTS[name] for name in ("learning_rate", "optimizer", "seed", "iters")
    ) == (MLX_LM_DEFAULTS.learning_rate, Optimizer.ADAM, MLX_LM_DEFAULTS.seed, ITERATIONS)
    assert CONFIG_DEFAULTS["lora_parameters"]["scale"] == MLX_LM_DEFAULTS.scale
    named = Recipe().as_mlx_lm(LoraConfig(4, 8, 16, 2048, lora_keys=ALL_KEYS))
    assert named.pop("optimizer_config") == {}
    assert named == {name: CONFIG_DEFAULTS[name] for name in named}, "each key, and no other"


def test_a_given_recipe_gets_the_answer_and_what_it_does_not_name() -> None:
    text = "# Mine.\nmodel: ./other  # kept\nseed: 3\nhf_dataset: {path: a/b}\n"
    given = GivenRecipe(text=text, has_model=True, has_data=True)
    file = dataclasses.replace(FILE, given=given, recipe=Recipe(seed=3, mask_prompt=True))
    found = read(file)
    assert (found["model"], found["seed"], found["batch_size"]) == ("./other", 3, 4)
    assert (found["train"], found["mask_prompt"], found["num_layers"]) == (True, True, 16)
    assert found["lora_parameters"]["keys"] == [*FILE.lora_keys]
    assert "data" not in found
    assert "# Mine.\nmodel: ./other  # kept\n" in file.text()
    assert file.text().startswith("# Run it with: mlx_lm.lora --config lora.yaml\n")
    other = GivenRecipe(text=text, has_model=False, has_data=False)
    found = read(dataclasses.replace(FILE, given=other))
    assert (found["model"], found["data"]) == ("/models/mine", "/data/mine")
    assert "hf_dataset" not in found


def test_it_says_what_was_measured_under_which_limit() -> None:
    said = comments(FILE)
    for part in (
        "mlx_lm.lora --config lora.yaml Model",
        "Model: mine (local 4-bit), batch=4, rank=64, layers=16, 512 tokens",
        "Apple M3 Max (metal), MLX 0.32.4, mlx-lm 0.32.2, pytest-yourai 0.1.0",
        "needs 12.1 GB and takes 15.2 GB, at 500ms/step, 4,088 tokens/s",
        "budget was 23.0 GB: MLX was set to use no more than 20.0 GB of it, the budget / 1.15",
        "mlx_lm.lora sets no such limit, so it may take more than 15.2 GB",
    ):
        assert part in said
    assert "mlx_lm.convert" not in said
    assert "made up" not in said


def test_weights_that_were_quantized_on_load_are_to_be_converted() -> None:
    model = dataclasses.replace(MODEL, folder=Path("/my models/mine"))
    said = comments(dataclasses.replace(FILE, model=model, convert_to=Quantization(8, 32)))
    assert "trained in full precision by mlx_lm.lora" in said
    assert (
        "mlx_lm.convert --hf-path '/my models/mine' --mlx-path mine-8bit --quantize "
        "--q-bits 8 --q-group-size 32"
    ) in said
    assert "name the result here: model: mine-8bit" in said


def test_a_repository_is_named_and_made_up_weights_are_noted() -> None:
    model = dataclasses.replace(MODEL, repo="owner/name")
    cached = dataclasses.replace(FILE, model=model)
    assert read(cached)["model"] == "owner/name"
    assert "made up" not in comments(cached)
    model = dataclasses.replace(model, weights="synthetic", folder=None)
    made_up = dataclasses.replace(FILE, model=model)
    assert read(made_up)["model"] == "owner/name"
    assert "weights were made up for measuring: mlx_lm.lora takes the real" in comments(made_up)


def test_what_there_is_none_of_is_to_be_filled_in() -> None:
    model = dataclasses.replace(MODEL, weights="synthetic", folder=None)
    found = dataclasses.replace(FILE, model=model, data=None, lora_keys=(), replay="old.json")
    assert (read(found)["model"], read(found)["data"]) == ("model", "data")
    assert "keys" not in read(found)["lora_parameters"]
    said = comments(found)
    for part in (
        "Run it with: mlx_lm.lora --config lora.yaml, once the model is named below",
        "weights of mine were made up: name a folder",
        "Rows were made up: name a folder",
        "Which modules got adapters is not recorded",
        "Replayed from old.json",
    ):
        assert part in said


def test_code_of_a_model_is_trusted_on_the_command_line() -> None:
    """mlx-lm does not take it from the file."""
    found = dataclasses.replace(FILE, trust_remote_code=True, convert_to=Quantization(4))
    assert "--config lora.yaml --trust-remote-code" in comments(found)
    assert "--q-group-size 64 --trust-remote-code" in comments(found)


@pytest.mark.parametrize(("rows", "expected"), [(0, None), (3, 0), (4, None)])
def test_too_few_rows_to_validate_with_are_left_out(
    tmp_path: Path, rows: int, expected: int | None
) -> None:
    folder = make_data(tmp_path)
    write_rows(folder, [{"text": "fox"}] * rows, "valid")
    found = dataclasses.replace(FILE, data=str(folder))
    assert read(found).get("val_batches") == expected
    assert ("no validation" in comments(found)) is (expected is not None)


@pytest.mark.repeats
@example("\x00")
@example("?")
@given(TEXTS | matching(r"[-+.0-9eE:_]{1,8}"))
def test_any_name_comes_back_as_it_was(name: str) -> None:
    model = dataclasses.replace(MODEL, repo=name, title=name)
    found = dataclasses.replace(
        FILE, name=name, model=model, data=name, lora_keys=(name,), convert_to=Quantization(4)
    )
    if not name:
        return
    assert found.text().isascii()
    usual = usual_settings()
    named: dict[str, Any] = {"model": name}
    if is_pattern(name):
        # mlx-lm would look for other folders: it is run in that one, and writes beside the file.
        named = {"model": ".", "adapter_path": str(Path.cwd() / "adapters")}
    assert read(found) == {
        **usual,
        **named,
        "data": name,
        "lora_parameters": {**usual["lora_parameters"], "keys": [name]},
    }


@functools.cache
def usual_settings() -> dict[str, Any]:
    """Read once: YAML takes longer than all else here."""
    return read(FILE)


def test_what_looks_like_a_token_stays_in_a_name_that_mlx_lm_reads() -> None:
    name = "hf_" + "x" * 30
    model = dataclasses.replace(MODEL, folder=Path(f"/models/{name}"))
    found = read(dataclasses.replace(FILE, model=model, data=name))
    assert (found["model"], found["data"]) == (f"/models/{name}", name)


def test_secrets_are_taken_out(monkeypatch: pytest.MonkeyPatch) -> None:
    hidden = "correct horse battery"
    monkeypatch.setattr(mlx_lm_config, "redactor", lambda: Redactor({"MY_SECRET": hidden}))
    model = dataclasses.replace(MODEL, folder=Path(f"/models/{hidden}"), title=hidden)
    found = dataclasses.replace(FILE, model=model, data=hidden, convert_to=Quantization(4))
    assert hidden not in found.text()
    assert found.text().count("# A secret is left out of this name: write the name as it is") == 2
    assert read(found)["model"] == "/models/[MY_SECRET]"


def test_the_command_runs_whatever_the_file_is_called(tmp_path: Path) -> None:
    name = "it's é\n::error::x.yaml"
    line = next(
        each
        for each in dataclasses.replace(FILE, name=name).text().splitlines()
        if "Run it with" in each
    )
    assert line.isascii()
    words = line.partition("with: ")[2].replace("mlx_lm.lora", "printf %s")
    printed = subprocess.run(["bash", "-c", words], cwd=tmp_path, capture_output=True, check=True)
    assert printed.stdout.decode() == f"--config{name}"

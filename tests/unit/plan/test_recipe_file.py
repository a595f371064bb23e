"""A recipe file as mlx_lm.lora reads it; what cannot be honoured is refused by file, line and key.

mlx_lm is imported here, at the top, on purpose: see support.models.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st
from mlx_lm.lora import CONFIG_DEFAULTS, yaml_loader

from pytest_yourai.core.config import FineTuneType, LoraConfig, Optimizer
from pytest_yourai.core.errors import RecipeError
from pytest_yourai.core.recipe import Recipe
from pytest_yourai.core.yaml_file import read_yaml
from pytest_yourai.plan.recipe_file import RecipeFile, read_recipe
from pytest_yourai.plan.recipe_folders import recipe_folders

EVERYTHING = """
model: some/model
train: true
fine_tune_type: dora
optimizer: AdamW
optimizer_config:
  adam: {}
  adamw:
    betas: [0.9, 0.98]
    eps: 1e-6
    weight_decay: 1E-2
data: mlx-community/wikisql
seed: 7
num_layers: -1
batch_size: 2
iters: 100
val_batches: -1
learning_rate: 1e-5
steps_per_report: 5
steps_per_eval: 20
resume_adapter_file: old.safetensors
adapter_path: out
save_every: 50
test: false
test_batches: 10
max_seq_length: 128
config: null
grad_checkpoint: yes
grad_accumulation_steps: 4
clear_cache_threshold: 1000
lr_schedule:
  name: cosine_decay
  warmup: 10
  warmup_init: 1e-7
  arguments: [1e-5, 1000, 1e-7]
lora_parameters:
  rank: 16
  dropout: 5e-2
  scale: 2e1
  keys: [self_attn.v_proj, self_attn.q_proj]
mask_prompt: true
report_to: wandb
project_name: mine
trust_remote_code: false
"""


A_SCHEDULE = "lr_schedule: {{name: step_decay, arguments: [1e-5, 0.9, 10]}}"


def read(folder: Path, text: str) -> RecipeFile:
    path = folder / "lora.yaml"
    path.write_text(text)
    return read_recipe(path)


def test_each_key_of_mlx_lm_is_honoured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert yaml.safe_load(EVERYTHING).keys() == CONFIG_DEFAULTS.keys()
    found = read(tmp_path, EVERYTHING)
    config = LoraConfig(
        *(2, 16, 1, 128),
        grad_checkpoint=True,
        fine_tune_type=FineTuneType.DORA,
        optimizer=Optimizer.ADAMW,
        lora_keys="self_attn.q_proj,self_attn.v_proj",
        dropout=0.05,
        grad_accumulation_steps=4,
    )
    axes = {name: (value,) for name, value in dataclasses.asdict(config).items()}
    assert found.axes == axes | {"num_layers": (-1,)}
    assert found.recipe == Recipe(
        scale=20.0,
        learning_rate=1e-5,
        lr_schedule={
            "name": "cosine_decay",
            "arguments": [1e-5, 1000, 1e-7],
            "warmup": 10,
            "warmup_init": 1e-7,
        },
        optimizer_config={"adamw": {"betas": [0.9, 0.98], "eps": 1e-6, "weight_decay": 0.01}},
        mask_prompt=True,
        seed=7,
        clear_cache_threshold=1000,
        resume_adapter_file=str(tmp_path / "old.safetensors"),
    )
    assert (found.model, found.data) == ("some/model", "mlx-community/wikisql")
    assert found.training == {
        "iters": 100,
        "val_batches": -1,
        "steps_per_report": 5,
        "steps_per_eval": 20,
        "save_every": 50,
        "adapter_path": "out",
        "report_to": "wandb",
        "project_name": "mine",
        "test": False,
    }


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("learning_rate", f"learning_rate: {{}}\n{A_SCHEDULE}"),
        ("lora_parameters", "lora_parameters: {{rank: 8, scale: {}, dropout: {}}}"),
        ("optimizer_config", "optimizer_config: {{sgd: {{momentum: {}}}}}"),
        ("lr_schedule", "lr_schedule: {{name: step_decay, arguments: [{}], warmup_init: {}}}"),
    ],
)
@pytest.mark.parametrize("number", ["1e-3", "1E-3", "1.e-3", "1.5e-3", ".1e-2", "0", "2_0e-3"])
def test_numbers_are_those_of_mlx_lm(tmp_path: Path, key: str, text: str, number: str) -> None:
    text = text.replace("{}", number).replace("{{", "{").replace("}}", "}")
    theirs = yaml.load(text, yaml_loader)[key]  # noqa: S506 - a SafeLoader
    read(tmp_path, text)
    ours = read_yaml(tmp_path / "lora.yaml", RecipeError, "a recipe").value[key]
    assert ours == theirs
    assert "'" not in repr(list(ours.values())[-1:] if isinstance(ours, dict) else ours).replace(
        "'momentum'", ""
    )


@pytest.mark.repeats
@example("._0")
@given(st.text("0123456789.eE+-_", min_size=1, max_size=8))
def test_each_word_is_the_number_or_the_text_that_it_is_to_mlx_lm(
    tmp_path_factory: pytest.TempPathFactory, word: str
) -> None:
    path = tmp_path_factory.getbasetemp() / "word.yaml"
    path.write_text(f"a: {word}\n")
    try:
        theirs: Any = yaml.load(path.read_text(), yaml_loader)  # noqa: S506 - a SafeLoader
    except (yaml.YAMLError, ValueError):
        return
    try:
        ours = read_yaml(path, RecipeError, "a recipe").value
    except RecipeError as problem:
        assert "in YAML 1.1: write" in str(problem)  # noqa: PT017 - 010 and the like
        return
    assert ours == theirs


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("\nlearning_rate: '1e-5'", r"lora\.yaml:2: learning_rate: input should be a valid number"),
        ("batch_size: 1e1", r":1: batch_size: input should be a valid integer \(found 10\.0\)"),
        ("lora_parameters:\n  alpha: 1", r":2: lora_parameters\.alpha: unknown key: .*; use"),
        ("lora_parameters: 3", r":1: lora_parameters: it must be a mapping with keys such as"),
        ("lora_parameters: {dropout: true}", r":1: lora_parameters\.dropout: input should be a v"),
        ("lora_parameters: {keys: 3}", r":1: lora_parameters\.keys: it must be qkvo, qv, all, or"),
        ("\nlora_parameters: {rank: 8, scale: 20.0}", r":2: lora_parameters: mlx-lm fails without"),
        ("lora_parameters: {}", r":1: lora_parameters: mlx-lm fails without rank, scale, dropout"),
        ("\noptimizer_config: {adam: }", r":2: optimizer_config\.adam: mlx-lm fails without a map"),
        ("batch_size: 2\neffective_batch_size: 16\ngrad_accumulation_steps: 4",
         r":2: effective_batch_size: 16 rows are not batch_size × .*, 2 × 4: leave"),
        ("lora_parameters: {rank: null, scale: 2.0, dropout: 0.0}", r":1: .* fails without rank:"),
        ("seed: 1\nlearning_rate: 0.0", r":2: learning_rate: mlx-lm trains nothing with 0:"),
        ("optimizer_config:\n  lion: {}", r":2: optimizer_config\.lion: input should be 'adam', "),
        ("optimizer: lion", r":1: optimizer: input should be 'adam', 'adamw', 'muon', 'sgd' or"),
        ("lr_schedule: {name: foo, arguments: [1]}", r":1: lr_schedule\.name: input should be 'co"),
        ("lr_schedule: {name: step_decay, arguments: [true]}", r"arguments\.0: it must be a num"),
        ("lr_schedule: {name: step_decay, arguments: [1, a]}", r"arguments\.1: it must be a num"),
        ("lr_schedule: {name: step_decay, arguments: [.inf]}", r"arguments\.0: it must be a num"),
        ("hf_dataset: {train_split: a}", r":1: hf_dataset\.path: this key is missing: add it"),
        ("hf_dataset:\n- path: a\n- path: 3", r":3: hf_dataset\.1\.path: input should be a va"),
        ("hf_dataset: {path: pandas}", r":1: hf_dataset\.path: pickled tables can run code: conv"),
        ("hf_dataset:\n  path: a\n  config: {trust_remote_code: true}",
         r":3: hf_dataset\.config: code of a data set is never run: leave trust_remote_code out"),
        ("num_layers: 0", r":1: num_layers: it must be at least 1, or all for all layers"),
        ("trust_remote_code: true", r":1: trust_remote_code: .*--yourai-trust-remote-code: rem"),
        ("config: other.yaml", r":1: config: a configuration cannot name another one: remove the"),
        ("lora_layers: 4", r":1: lora_layers: unknown key: did you mean lora_parameters or "),
        ("[]", r":1: this is not a configuration of mlx_lm\.lora: it must map keys such as model"),
    ],
)  # fmt: skip
def test_what_cannot_be_honoured_is_refused_by_line_and_key(
    tmp_path: Path, text: str, message: str
) -> None:
    with pytest.raises(RecipeError, match=message):
        read(tmp_path, text)


@pytest.mark.parametrize("text", ["fine_tune_type: full\nlora_parameters: {}", "lora_parameters:"])
def test_what_mlx_lm_does_not_read_may_be_incomplete(tmp_path: Path, text: str) -> None:
    assert read(tmp_path, text).recipe == Recipe()


def test_an_effective_batch_may_have_the_accumulation_that_keeps_it(tmp_path: Path) -> None:
    found = read(tmp_path, "effective_batch_size: 16\ngrad_accumulation_steps: 4")
    assert found.effective_batch_size == 16
    assert read(tmp_path, "optimizer: sgd\noptimizer_config: {adam: }").axes["optimizer"] == (
        "sgd",
    )


def test_what_mlx_lm_ignores_gets_a_note(tmp_path: Path) -> None:
    assert list(read(tmp_path, "clear_cache_threshold: 0").notes) == []
    [note] = read(tmp_path, "clear_cache_threshold: 1000").notes
    assert note.startswith("lora.yaml: clear_cache_threshold: it holds here; mlx_lm.lora 0.32.2")


def test_data_sets_are_one_or_a_list(tmp_path: Path) -> None:
    one = {"path": "a/b", "train_split": "train[:10]", "config": {"name": "x"}}
    lines = "path: a/b, train_split: 'train[:10]', config: {name: x}"
    assert read(tmp_path, f"hf_dataset: {{{lines}}}").recipe.hf_dataset == (one,)
    listed = read(tmp_path, f"hf_dataset:\n- {{{lines}}}\n- {{path: c}}")
    assert listed.recipe.hf_dataset == (one, {"path": "c"})
    assert read(tmp_path, "hf_dataset: null").recipe == Recipe()


def test_its_model_and_data_folders_are_known_before_it_is_valid(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, file in (("model", "config.json"), ("data", "train.jsonl"), ("own", "config.json")):
        (tmp_path / name).mkdir()
        (tmp_path / name / file).write_text("{}")
    recipe = tmp_path / "own" / "lora.yaml"
    recipe.write_text("model: model\ndata: ./data\nunknown: 1\n")
    folders = [tmp_path / name for name in ("own", "model", "data")]
    assert list(recipe_folders([" own/lora.yaml", ""], tmp_path)) == folders
    recipe.write_text("model: [not plain")
    assert list(recipe_folders(["lora.yaml"], tmp_path / "own")) == folders[:1]
    recipe.write_text("- a list")
    assert list(recipe_folders([str(recipe), "\0"], tmp_path)) == folders[:1]

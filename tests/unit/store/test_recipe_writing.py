"""A recipe with an answer in it: what is not of the answer stays as the user wrote it.

mlx_lm is imported here, at the top, on purpose: see support.models.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import yaml
from mlx_lm.lora import yaml_loader

from pytest_yourai.core.config import ALL_KEYS, FineTuneType, LoraConfig, Optimizer
from pytest_yourai.core.errors import RecipeError
from pytest_yourai.core.redaction import Redactor
from pytest_yourai.store import recipe_writing
from pytest_yourai.store.recipe_writing import check_rewritable, with_answer, without_header

RECIPE = """\
# The recipe   of mine
model: "mine"   # here
train: true

optimizer: AdamW
optimizer_config: {adamw: {betas: [0.9, 0.98], weight_decay: 1e-2}}
learning_rate: 1e-5  # as before
lora_parameters:   # how
    # about keys
    keys:
        - self_attn.q_proj
        - self_attn.v_proj
    rank: 8
    scale: 20.0
    dropout: 0.0
batch_size: 4
# the end
iters: 100
"""

CONFIG = LoraConfig(
    *(2, 16, 12, 2048), optimizer=Optimizer.ADAMW, lora_keys="self_attn.q_proj,self_attn.v_proj"
)

PATHS = ("self_attn.q_proj", "self_attn.v_proj")


def read(text: str) -> dict[str, Any]:
    """As mlx_lm.lora does."""
    found: dict[str, Any] = yaml.load(text, yaml_loader)  # noqa: S506 - a SafeLoader
    return found


def answer(config: LoraConfig = CONFIG, text: str = RECIPE, **entries: Any) -> str:
    paths = () if config.lora_keys == ALL_KEYS else PATHS
    return with_answer(text, config, paths, entries)


def test_lines_without_an_answer_stay() -> None:
    changed = answer()
    expected = RECIPE.replace("rank: 8", "rank: 16").replace("batch_size: 4", "batch_size: 2")
    assert changed == expected + "num_layers: 12\n"
    assert answer(text=changed) == changed


def test_axes_that_varied_are_written_and_read_by_mlx_lm() -> None:
    config = dataclasses.replace(
        CONFIG,
        fine_tune_type=FineTuneType.DORA,
        optimizer=Optimizer.MUON,
        lora_keys=ALL_KEYS,
        dropout=1e-05,
        grad_accumulation_steps=4,
        grad_checkpoint=True,
        max_seq_length=512,
    )
    assert read(answer(config)) == {
        **read(RECIPE),
        "fine_tune_type": "dora",
        "optimizer": "muon",
        "batch_size": 2,
        "num_layers": 12,
        "max_seq_length": 512,
        "grad_checkpoint": True,
        "grad_accumulation_steps": 4,
        "lora_parameters": {"rank": 16, "scale": 20.0, "dropout": 1e-05},
    }


def test_what_mlx_lm_has_no_default_for_is_written() -> None:
    text = "lora_parameters:\n  rank: 2\n  keys: qv\n"
    assert read(answer(text=text))["lora_parameters"] == {
        "rank": 16,
        "scale": 20.0,
        "dropout": 0.0,
        "keys": [*PATHS],
    }
    assert read(answer(text="seed: 1\n"))["lora_parameters"]["rank"] == 16


def test_full_fine_tuning_leaves_the_adapters_alone() -> None:
    full = dataclasses.replace(CONFIG, fine_tune_type=FineTuneType.FULL).canonical()
    assert read(answer(full))["lora_parameters"] == read(RECIPE)["lora_parameters"]


@pytest.mark.parametrize(
    "name", ["1e5", "0x10", "yes", "null", "a: b", "# a", "[x", "é", "2026-01-01"]
)
def test_a_text_is_a_text_to_mlx_lm(name: str) -> None:
    assert read(answer(model=name))["model"] == name


def test_an_entry_of_nothing_takes_the_key_out() -> None:
    text = RECIPE + "hf_dataset:\n  path: a/b\n"
    found = read(answer(text=text, hf_dataset=None, data="mine"))
    assert "hf_dataset" not in found
    assert found["data"] == "mine"


def test_an_effective_batch_that_does_not_hold_is_taken_out() -> None:
    held = read(answer(text="effective_batch_size: 2\n"))
    assert held["effective_batch_size"] == 2
    found = read(answer(text="effective_batch_size: 16\ngrad_accumulation_steps: 4\n"))
    assert "effective_batch_size" not in found
    assert found["grad_accumulation_steps"] == 1


@pytest.mark.parametrize(
    "text", [RECIPE, "\ufeffmodel: a\r\nseed: 0b11\r\n", "{mask_prompt: yes, iters: 1_000}\n"]
)
def test_what_can_be_written_back_is_accepted(text: str) -> None:
    check_rewritable(Path("lora.yaml"), text)


@pytest.mark.parametrize(
    "text", ["model: a\x85seed: 1\n", "model: a # \u2029seed: 1\n", "data: |\n  a\x85  b\n"]
)
def test_what_cannot_be_written_back_is_refused_beforehand(text: str) -> None:
    with pytest.raises(RecipeError, match=r"^lora\.yaml: --yourai-lora-config cannot write it"):
        check_rewritable(Path("lora.yaml"), text)


def test_an_earlier_answer_loses_its_comments_alone() -> None:
    header = "# Run it with: mlx_lm.lora --config a.yaml\n# It needs 3 GB\n"
    assert without_header(f"{header}\n{RECIPE}") == RECIPE
    assert without_header(header) == ""
    assert without_header(RECIPE) == RECIPE


def test_known_secrets_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    secret = Redactor({"HF_TOKEN": "hf_abcdefghijklmnop"})
    monkeypatch.setattr(recipe_writing, "redactor", lambda: secret)
    text = (
        "# token hf_abcdefghijklmnop\nhf_dataset:\n- path: a/b\n  config:\n"
        "    token: hf_abcdefghijklmnop\n"
    )
    changed = answer(text=text, model="hf_abcdefghijklmnop")
    assert "hf_abc" not in changed
    found = read(changed)
    assert found["hf_dataset"] == [{"path": "a/b", "config": {"token": "[HF_TOKEN]"}}]
    assert found["model"] == "[HF_TOKEN]"

"""`--yourai-lora-config`: what mlx-lm makes of the file."""

from __future__ import annotations

import json
import math
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from safetensors import safe_open

from support.models import SMALL_QWEN2, make_data, make_model
from support.processes import SweepRun


@pytest.mark.real_engine
def test_mlx_lm_trains_and_generates_with_it(pytester: pytest.Pytester, sweep: SweepRun) -> None:
    model = make_model(pytester.path / "model")
    make_data(pytester.path / "data", rows=8, words=20)
    (pytester.path / "one.yaml").write_text(
        "batch_size: [2]\nlora_rank: [4]\nlora_layers: [3]\nmax_seq_length: 32\n"
        "lora_keys: [self_attn.q_proj]\n"
    )
    done = sweep(
        "--yourai-data=data", "--yourai-lora-config=lora.yaml", model=str(model), matrix="one.yaml"
    )
    assert done.outcomes == ["ok"]
    done.stdout.fnmatch_lines(["LoRA config: lora.yaml"])

    def mlx_lm(*arguments: str) -> str:
        command = [sys.executable, "-m", "mlx_lm", *arguments]
        return subprocess.run(
            command, cwd=pytester.path, check=True, capture_output=True, text=True
        ).stdout

    mlx_lm("lora", "--config", "lora.yaml", "--iters", "3")
    with safe_open(pytester.path / "adapters" / "adapters.safetensors", "numpy") as adapters:
        shapes = {name: adapters.get_slice(name).get_shape() for name in adapters.keys()}  # noqa: SIM118
    assert shapes == {
        f"model.layers.{layer}.self_attn.q_proj.lora_{side}": shape
        for layer in (1, 2, 3)
        for side, shape in (("a", [64, 4]), ("b", [4, 64]))
    }
    settings = json.loads((pytester.path / "adapters" / "adapter_config.json").read_text())
    assert (settings["batch_size"], settings["max_seq_length"]) == (2, 32)
    mlx_lm(
        *("generate", "--model", str(model), "--adapter-path", "adapters"),
        *("--prompt", "fox", "--max-tokens", "1"),
    )


RECIPE = """\
# Mine.
model: ./model  # of tests
train: true
data: data
learning_rate: 1e-3
optimizer: adamw
optimizer_config: {adamw: {weight_decay: 1e-2}}
lora_parameters:
  rank: 8
  dropout: 0.0
  scale: 2e1
  keys: [self_attn.q_proj, self_attn.v_proj]  # two
lr_schedule: {name: cosine_decay, warmup: 1, arguments: [1e-3, 100]}
batch_size: 4
max_seq_length: 32
mask_prompt: false
val_batches: 0
iters: 3
steps_per_report: 1
adapter_path: out
"""


@pytest.mark.real_engine
def test_a_recipe_comes_back_with_the_answer_and_trains(pytester: pytest.Pytester) -> None:
    make_model(pytester.path / "model")
    make_data(pytester.path / "data", rows=8, words=20)
    (pytester.path / "mine.yaml").write_text(RECIPE)
    done = pytester.runpytest_inprocess(
        "--yourai-config=mine.yaml",
        *("--yourai-batch-size=1,2", "--yourai-rank=4", "--yourai-num-layers=2"),
        *("--yourai-optimizer=sgd", "--yourai-steps=2", "--yourai-lora-config=best.yaml"),
    )
    done.stdout.fnmatch_lines(["LoRA config: best.yaml"])
    assert (pytester.path / "mine.yaml").read_text() == RECIPE
    text = (pytester.path / "best.yaml").read_text()
    header, _, body = text.partition("\n\n")
    assert header.startswith("# Run it with: mlx_lm.lora --config best.yaml\n# Model: ")
    body, seal = body[:-1].rsplit("\n", 1)
    assert seal.startswith("# made by pytest-yourai, sha256 of all above: ")
    # Where rank and layers have one value, the fastest comes first.
    answers = json.loads((pytester.path / "optimal_config.json").read_text())["answers"]
    fastest = answers["fastest"]["batch_size"]
    assert fastest in (1, 2)
    assert f"{body}\n" == (
        RECIPE.replace("rank: 8", "rank: 4")
        .replace("batch_size: 4", f"batch_size: {fastest}")
        .replace("optimizer: adamw", "optimizer: sgd")
        + "num_layers: 2\n"
    )
    [following] = [line for line in done.outlines if line.startswith("Next: yourai train ")]
    # It is the largest, too, where the larger batch is the faster.
    before_pick = re.sub(r" --pick (fastest|largest)$", "", following)
    assert before_pick.endswith("--profile optimal_config.json --config mine.yaml")
    arguments = shlex.split(following.removeprefix("Next: yourai "))
    subprocess.run(
        [sys.executable, "-P", "-m", "pytest_yourai", *arguments, "--adapter-path=ours"],
        cwd=pytester.path,
        check=True,
        capture_output=True,
    )
    assert (pytester.path / "ours" / "adapters.safetensors").exists()
    command = [sys.executable, "-m", "mlx_lm", "lora", "--config", "best.yaml"]
    trained = subprocess.run(
        command, cwd=pytester.path, check=True, capture_output=True, text=True
    ).stdout
    plain = re.sub(r"\x1b\[[0-9;]*m", "", trained)
    losses = re.findall(r"^\s+[123]\s+(\S+)", plain, re.MULTILINE)
    assert len(losses) == 3
    assert all(math.isfinite(float(each)) for each in losses)
    assert (pytester.path / "out" / "adapters.safetensors").exists()


def test_of_several_models_it_is_the_recommended_ones(
    pytester: pytest.Pytester, sweep: SweepRun
) -> None:
    (pytester.path / "one.yaml").write_text("batch_size: [1]\nlora_rank: [4]\nlora_layers: [2]\n")
    model = make_model(pytester.path / "larger", SMALL_QWEN2)
    done = sweep(
        f"--yourai-model={model}",
        "--yourai-lora-config=lora.yaml",
        "-n1",
        matrix="one.yaml",
        subprocess=True,
    )
    assert done.benchmark["recommended"] == str(model)
    assert yaml.safe_load((pytester.path / "lora.yaml").read_text())["model"] == str(model)


RECORDED = Path(__file__).parents[1] / "data" / "h200_llama8b_quick.json"


def test_a_recorded_sweep_has_one_too(pytester: pytest.Pytester) -> None:
    done = pytester.runpytest_inprocess(
        f"--yourai-replay={RECORDED}", "--yourai-lora-config=lora.yaml"
    )
    done.stdout.fnmatch_lines(["LoRA config: lora.yaml"])
    text = (pytester.path / "lora.yaml").read_text()
    found = yaml.safe_load(text)
    assert found["model"] == "mlabonne/Meta-Llama-3.1-8B-Instruct-abliterated"
    recorded = json.loads(RECORDED.read_text())
    assert found["batch_size"] == recorded["optimal_batch_size"]
    assert found["lora_parameters"]["rank"] == recorded["optimal_lora_rank"]
    assert "# Replayed from h200_llama8b_quick.json" in text
    assert "mlx_lm.convert --hf-path mlabonne/" in text


def test_there_is_none_where_nothing_fits(pytester: pytest.Pytester) -> None:
    (pytester.path / "lora.yaml").write_text("old")
    done = pytester.runpytest_inprocess(
        f"--yourai-replay={RECORDED}", "--yourai-lora-config=lora.yaml", "--yourai-max-memory=3"
    )
    done.stdout.fnmatch_lines(["LoRA config: not written, no optimum was found"])
    assert (pytester.path / "lora.yaml").read_text() == "old"


def test_it_is_refused_early_where_it_cannot_be_written(pytester: pytest.Pytester) -> None:
    done = pytester.runpytest_inprocess(
        f"--yourai-replay={RECORDED}", "--yourai-lora-config=nowhere/lora.yaml"
    )
    assert done.ret == pytest.ExitCode.USAGE_ERROR
    done.stderr.fnmatch_lines(["*--yourai-lora-config: *nowhere/lora.yaml cannot be written: No *"])

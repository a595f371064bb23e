"""`--yourai-recommend` prints estimates at once, runs nothing, and writes only to a named file."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pytest_yourai.core.paths import packaged_models
from pytest_yourai.machine.environment import installed_backend
from pytest_yourai.models.presets import read_presets

from support.hub import bare_model, cached
from support.models import TINY

NEXT = "what a CPU trains in seconds" if installed_backend() == "cpu" else "the largest that fits"

BACKEND = {"cpu": "the CPU", "cuda": "CUDA", "metal": "Metal"}[installed_backend()]


def recommend(pytester: pytest.Pytester, *flags: str) -> pytest.RunResult:
    return pytester.runpytest_inprocess("--yourai-recommend", *flags)


def rows(done: pytest.RunResult) -> dict[str, list[str]]:
    """Model → its cells."""
    lines = done.stdout.str().splitlines()
    start = next(index for index, line in enumerate(lines) if line.startswith("model "))
    cells = [re.split(r"  +", line) for line in lines[start + 1 :]]
    return {row[0]: row[1:] for row in cells[: cells.index([""])]}


def written(pytester: pytest.Pytester, *flags: str) -> dict[str, Any]:
    done = recommend(pytester, *flags, "--yourai-output", "found.json")
    assert done.ret == 0
    document: dict[str, Any] = json.loads((pytester.path / "found.json").read_text())
    return document


def assert_usage_error(done: pytest.RunResult, *parts: str) -> None:
    assert done.ret == pytest.ExitCode.USAGE_ERROR
    said = [line for line in done.stderr.str().splitlines() if line.startswith("ERROR: ")]
    assert len(said) == 1
    for part in parts:
        assert part in said[0]
    assert "Traceback" not in done.stderr.str()


def test_every_preset_is_judged_in_its_order_and_nothing_is_run(
    pytester: pytest.Pytester,
) -> None:
    pytester.makepyfile("def test_mine(): assert False")
    before = set(pytester.path.iterdir())
    done = recommend(pytester, "--yourai-max-memory", "16")
    assert done.ret == 0
    assert list(rows(done)) == list(read_presets(packaged_models()))
    text = done.stdout.str()
    assert "collected" not in text
    assert "nothing was run" in text
    assert set(pytester.path.iterdir()) - before <= {pytester.path / ".pytest_cache"}


def test_the_budget_decides_verdict_and_safe_configuration(pytester: pytest.Pytester) -> None:
    for budget_gb, verdict, safe in (
        (16, "no", "1, 16, 8"),
        (50, "yes", "1, 24, 12"),
        (128, "yes", "1, 32, 16"),
    ):
        done = recommend(pytester, "--yourai-max-memory", str(budget_gb))
        assert done.ret == 0
        assert rows(done)["hermes-70b"][:3] == ["70B", safe, verdict]
        done.stdout.fnmatch_lines([
            f"Budget: {budget_gb}.0 GB (as given), training on {BACKEND}",
            f"Next, {NEXT}: * --yourai-max-memory {budget_gb} --quick",
        ])  # fmt: skip
    tiny = recommend(pytester, "--yourai-max-memory", "0.001")
    assert tiny.ret == pytest.ExitCode.TESTS_FAILED
    assert {cells[2] for cells in rows(tiny).values()} == {"no"}
    tiny.stdout.fnmatch_lines(["None fits, whatever is changed: *"])


def test_what_does_not_fit_is_answered_with_what_would(pytester: pytest.Pytester) -> None:
    flags = ("--yourai-max-memory=12", "--yourai-seq-length=4096", "--yourai-data=chat")
    sizes = ("--yourai-batch-size=2,4", "--yourai-rank=16", "--yourai-num-layers=all")
    asked = ("--yourai-model=llama-8b", *flags, *sizes)
    pytester.mkdir("chat").joinpath("train.jsonl").write_text('{"text": "a"}\n')
    done = recommend(pytester, *asked)
    assert done.ret == 0
    assert rows(done)["llama-8b"][2] == "changed"
    done.stdout.fnmatch_lines(["Changed to fit", "  llama-8b: *checkpointing*; as asked * GB"])
    last = done.stdout.lines[-1]
    assert last.startswith("Next, it fits as changed: pytest --yourai-model=llama-8b ")
    for kept in flags[::2]:
        assert kept in last
    assert "--yourai-grad-checkpoint" in last
    assert "--yourai-rank=16" in last
    assert "2,4" not in last
    # The command that is proposed is for one configuration that fits.
    command = shlex.split(last.partition(": pytest ")[2])
    again = recommend(pytester, *(each for each in command if each != "--quick"))
    assert rows(again)["llama-8b"][2] in ("yes", "maybe")


def test_this_machine_is_the_default(pytester: pytest.Pytester) -> None:
    done = recommend(pytester)
    assert done.ret == 0
    done.stdout.fnmatch_lines([
        "Estimates for *GB (* GiB): nothing was run",
        f"Budget: * GB (*), training on {BACKEND}",
    ])  # fmt: skip


def test_json_is_written_to_the_named_file(pytester: pytest.Pytester) -> None:
    document = written(pytester, "--yourai-max-memory", "36")
    assert document["schema_version"] == 1
    assert document["estimates_only"] is True
    assert document["memory_limit_gb"] == 36
    by_name = {model["name"]: model for model in document["models"]}
    llama = by_name["llama-8b"]
    parts = ("weights", "adapters", "gradients", "optimizer", "activations", "logits", "overhead")
    assert llama["minimum_memory_bytes"] == sum(llama[f"{part}_bytes"] for part in parts)
    assert llama["conservative_memory_bytes"] > llama["minimum_memory_bytes"]
    as_loaded = 4_517_407_752  # by MLX, on a GPU: tests/data/floors_h200.json
    assert llama["weights_bytes"] == pytest.approx(as_loaded, rel=1e-5)
    assert (llama["batch_size"], llama["lora_rank"], llama["lora_layers"]) == (2, 64, 16)
    assert (llama["max_seq_length"], llama["quantization_bits"]) == (512, 4)
    assert (by_name["tiny"]["max_seq_length"], by_name["tiny"]["lora_layers"]) == (64, 4)
    assert by_name["tiny"]["quantization_bits"] is None


def test_an_output_in_the_ini_file_keeps_its_profile(pytester: pytest.Pytester) -> None:
    pytester.makeini("[pytest]\nyourai_output = profile.json\n")
    Path("profile.json").write_text("mine")
    assert recommend(pytester).ret == 0
    assert Path("profile.json").read_text() == "mine"


def test_flags_that_change_memory_are_honoured(pytester: pytest.Pytester) -> None:
    def model(*flags: str) -> dict[str, Any]:
        document = written(
            pytester, "--yourai-model", "llama-8b", "--yourai-max-memory", "64", *flags
        )
        (only,) = document["models"]
        found: dict[str, Any] = only
        return found

    usual = model()["minimum_memory_bytes"]
    longer = model("--yourai-seq-length", "2048")
    assert longer["max_seq_length"] == 2048
    assert longer["minimum_memory_bytes"] > usual
    assert model("--yourai-quantize", "none")["quantization_bits"] is None
    assert model("--yourai-quantize", "8")["weights_bytes"] > 8e9
    assert model("--yourai-lora-keys", "self_attn.q_proj")["minimum_memory_bytes"] < usual
    checkpointed = model("--yourai-grad-checkpoint")
    assert checkpointed["grad_checkpoint"] is True
    assert checkpointed["minimum_memory_bytes"] < usual


def test_one_model_by_preset_or_by_folder(pytester: pytest.Pytester) -> None:
    assert list(rows(recommend(pytester, "--yourai-model", "dolphin-8b"))) == ["dolphin-8b"]
    pytester.mkdir("mine").joinpath("config.json").write_text(json.dumps(TINY))
    done = recommend(pytester, "--yourai-model=mine", "--yourai-max-memory", "1")
    assert rows(done)["mine"][:3] == ["0.3M", "2, 64, 4", "yes"]
    done.stdout.fnmatch_lines([
        "Next, it fits: pytest --yourai-model=mine --yourai-max-memory 1 --quick"
    ])  # fmt: skip


def test_a_list_of_ones_own_with_what_is_cached_of_it(
    pytester: pytest.Pytester, hub_cache: Path
) -> None:
    eight_bits = {**TINY, "quantization": {"bits": 8, "group_size": 64}}
    cached(bare_model(pytester.path / "made", eight_bits), "owner/cached", hub_cache)
    folder = pytester.mkdir("lists")
    bare_model(folder / "models" / "mine", TINY)
    (folder / "own.yaml").write_text(
        "mine: {path: models/mine}\nours: {repo: owner/cached}\nfar: {repo: owner/far}\n"
    )
    flags = ("--yourai-models=lists/own.yaml", "--yourai-max-memory", "1")
    document = written(pytester, *flags)
    assert {model["name"]: model["quantization_bits"] for model in document["models"]} == {
        "mine": None,
        "ours": 8,
    }
    assert list(document["left_out"]) == ["far"]
    done = recommend(pytester, *flags)
    done.stdout.fnmatch_lines([
        "far is left out: *not on this machine: add --yourai-weights=hub*",
        "Next, * fits: pytest --yourai-model* --yourai-models=lists/own.yaml * --quick",
    ])  # fmt: skip
    assert_usage_error(recommend(pytester, *flags, "--yourai-model", "far"), "--yourai-weights=hub")


@pytest.mark.parametrize(
    ("flags", "parts"),
    [
        (("--yourai-max-memory", "-3"), ["--yourai-max-memory", "above 0"]),
        (("--yourai-seq-length", "1"), ["--yourai-seq-length", "at least 2"]),
        (("--yourai-quantize", "7"), ["--yourai-quantize", "2, 3, 4, 5, 6, 8"]),
        (("--yourai-model", "lama-8b"), ["lama-8b", "did you mean llama-8b"]),
        (("--yourai-lora-keys", "nothing"), ["LoRA key nothing names no linear layer"]),
        (("--yourai-output", "absent/r.json"), ["--yourai-output", "cannot be written"]),
        (("--yourai-output", "/"), ["--yourai-output", "is not a regular file"]),
    ],
)
def test_mistakes_are_one_sentence(
    pytester: pytest.Pytester, flags: tuple[str, ...], parts: list[str]
) -> None:
    assert_usage_error(recommend(pytester, *flags), *parts)


def test_the_list_that_is_read_is_not_written_over(pytester: pytest.Pytester) -> None:
    listed = pytester.path / "m.yaml"
    listed.write_text("mine: {architecture: config.json}\n")
    (pytester.path / "config.json").write_text(json.dumps(TINY))
    done = recommend(pytester, "--yourai-models=m.yaml", "--yourai-output=m.yaml")
    assert_usage_error(done, "is read for --yourai-models")
    assert listed.read_text().startswith("mine:")


def test_a_config_without_a_size_is_named(pytester: pytest.Pytester) -> None:
    config = {key: value for key, value in TINY.items() if key != "vocab_size"}
    pytester.mkdir("mine").joinpath("config.json").write_text(json.dumps(config))
    assert_usage_error(recommend(pytester, "--yourai-model=mine"), "config.json: vocab_size")


def test_help_goes_first(pytester: pytest.Pytester) -> None:
    done = recommend(pytester, "--help")
    assert done.ret == 0
    assert "--yourai-recommend" in done.stdout.str()
    assert "nothing was run" not in done.stdout.str()


def test_it_cannot_be_set_in_an_ini_file(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("def test_mine(pytestconfig): assert True")
    pytester.makeini("[pytest]\nyourai_recommend = true\n")
    done = pytester.runpytest_inprocess()
    done.assert_outcomes(passed=1)


def test_nothing_heavy_is_imported(pytester: pytest.Pytester) -> None:
    heavy = ("mlx", "mlx_lm", "numpy", "transformers")
    code = (
        "import sys, pytest; status = pytest.main(['--yourai-recommend']); "
        f"print('imported:', [name for name in {heavy} if name in sys.modules]); sys.exit(status)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "hermes-70b" in done.stdout
    assert "imported: []" in done.stdout

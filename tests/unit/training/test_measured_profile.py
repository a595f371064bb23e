"""Which configuration a profile stands for, and how a run differs from what it measured."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from pytest_yourai.core.conditions import Environment, SweepSettings
from pytest_yourai.core.config import LoraConfig, Quantization
from pytest_yourai.core.errors import RecordingError
from pytest_yourai.core.outcomes import Outcome
from pytest_yourai.core.paths import packaged_models
from pytest_yourai.core.results import TrialResult
from pytest_yourai.machine import environment
from pytest_yourai.models.model import Model
from pytest_yourai.models.presets import read_presets
from pytest_yourai.models.resolve import resolve
from pytest_yourai.store.schema import read_leniently
from pytest_yourai.store.stored_profile import StoredProfile
from pytest_yourai.training.measured_profile import (
    WHAT_RUNS,
    Condition,
    baseline_of,
    is_of,
    profile_differences,
    read_profile,
)

DATA = Path(__file__).resolve().parents[2] / "data"
PROFILE = DATA / "h200_llama8b_quick.json"
WALK = DATA / "h200_benchmark_24gb.json"
PRESETS = read_presets(packaged_models())
FOUR_BITS = Quantization(4)


def model(name: str = "llama-8b") -> Model:
    return resolve(name, Path(name), "synthetic", PRESETS)


def changed(
    folder: Path, change: Callable[[dict[str, Any]], object], source: Path = PROFILE
) -> Path:
    document = json.loads(source.read_text())
    change(document)
    path = folder / "changed.json"
    path.write_text(json.dumps(document))
    return path


def test_its_optimum_and_what_was_measured_of_it() -> None:
    found = read_profile(PROFILE, model())
    assert found.optimum is not None
    assert found.optimum.config == LoraConfig(4, 128, 32, 512)
    baseline = baseline_of(found.measured.get(found.optimum.config))
    assert baseline is not None
    raw = json.loads(PROFILE.read_text())
    assert baseline.peak_memory_bytes == round(raw["peak_memory_gb"] * 1e9)
    assert baseline.minimum_memory_bytes is not None
    assert baseline.minimum_memory_bytes < baseline.peak_memory_bytes
    assert baseline.tokens_per_second == pytest.approx(4 * 511 / (baseline.step_time_s or 0))
    assert baseline_of(found.measured.get(LoraConfig(4, 128, 31, 512))) is None


def test_nothing_is_promised_of_what_failed(tmp_path: Path) -> None:
    def fail(document: dict[str, Any]) -> None:
        document["all_results"][-1].update(outcome="oom", success=False, error="no memory")

    found = read_profile(changed(tmp_path, fail), model())
    [failed] = [config for config, each in found.results.items() if not each.success]
    assert baseline_of(found.measured.get(failed)) is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda it: it.clear(), "model: it must name the model"),
        (lambda it: it.update(optimal_lora_rank=0), "optimal_lora_rank: .*greater than or equal"),
        (
            lambda it: it.update(optimal_batch_size=None),
            "llama-8b did not fit when",
        ),
        (lambda it: it.update(schema_version=2), "schema_version: 2 is newer than 1"),
        (lambda it: it.update(all_results=[]), "all_results: it must be a list of measured rows"),
        (lambda it: it.pop("model"), "model: it must name the model"),
        (lambda it: it["all_results"][0].pop("lora_rank"), "all_results: row 1: lora_rank"),
    ],
)
def test_what_is_not_a_profile_is_refused_in_one_sentence(
    tmp_path: Path, change: Callable[[dict[str, Any]], object], message: str
) -> None:
    with pytest.raises(RecordingError, match=message) as caught:
        read_profile(changed(tmp_path, change), model())
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"[]", b"no JSON", b"\xff\xfe", b"[" * 100_000])
def test_what_is_not_a_json_object_is_refused_in_one_sentence(
    tmp_path: Path, content: bytes
) -> None:
    path = tmp_path / "p.json"
    path.write_bytes(content)
    with pytest.raises(RecordingError) as caught:
        read_profile(path, model())
    assert "\n" not in str(caught.value)


def test_benchmark_results_give_the_safe_configuration_of_the_model() -> None:
    found = read_profile(WALK, model())
    entry = next(
        each for each in json.loads(WALK.read_text())["results"] if each["preset"] == "llama-8b"
    )
    assert found.optimum is not None
    assert found.optimum.config == LoraConfig(2, 64, 16, 512)
    baseline = baseline_of(found.measured.get(found.optimum.config))
    assert baseline is not None
    assert baseline.peak_memory_bytes == pytest.approx(entry["peak_memory_gb"] * 1e9, abs=1)
    assert found.memory_limit_bytes == 24_000_000_000


def test_benchmark_results_give_the_optimum_where_there_is_one(tmp_path: Path) -> None:
    def optimize(document: dict[str, Any]) -> None:
        for entry in document["results"]:
            entry["optimal_config"] = json.loads(PROFILE.read_text())

    found = read_profile(changed(tmp_path, optimize, WALK), model())
    assert found.optimum is not None
    assert found.optimum.config == LoraConfig(4, 128, 32, 512)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("hermes-70b", "hermes-70b did not fit when it was measured"),
        ("tiny", "has hermes-mistral-7b, .*, and not tiny"),
    ],
)
def test_benchmark_results_without_an_answer_for_the_model(name: str, message: str) -> None:
    with pytest.raises(RecordingError, match=message):
        read_profile(WALK, model(name))


def test_mistaken_benchmark_results_are_named_by_key(tmp_path: Path) -> None:
    path = changed(tmp_path, lambda it: it["results"][1].pop("safe_config"), WALK)
    with pytest.raises(RecordingError, match=r"results\.1\.safe_config: it is missing"):
        read_profile(path, model())


def here() -> dict[str, Any]:
    """This machine, as a profile's environment."""
    return {
        "chip": environment.chip(),
        "backend": environment.installed_backend(),
        "system_memory_bytes": psutil.virtual_memory().total,
        "versions": environment.versions(),
    }


def compared(
    quantization: Quantization | None = FOUR_BITS,
    keys: str = "qv",
    name: str = "llama-8b",
    settings: dict[str, Any] | None = None,
    ranks: int = 1,
    **there: Any,
) -> dict[Condition, str]:
    usual = {"quantization": {"bits": 4}}
    config = LoraConfig(4, 128, 32, 512, lora_keys="qv")
    recording = StoredProfile(
        name="p.json",
        model="llama-8b",
        results={config: TrialResult("llama-8b", config, Outcome.OK)},
        settings=read_leniently(SweepSettings, usual if settings is None else settings),
        environment=read_leniently(Environment, {**here(), **there}),
    )
    return profile_differences(recording, model(name), PRESETS, quantization, keys, ranks)


def test_the_same_here_differs_in_nothing() -> None:
    assert not compared()
    assert not compared(keys="self_attn.q_proj,self_attn.v_proj")


@pytest.mark.parametrize(
    ("difference", "message", "changes_what_runs"),
    [
        ({"chip": "Apple M9"}, r"on another machine \(chip Apple M9, here", False),
        ({"chip": None}, "on a machine that it does not name", False),
        ({"backend": "metal"}, r"\(backend metal, here ", False),
        ({"system_memory_bytes": 10**9}, r"\(memory 1.0 GB \(1 GiB\), here ", False),
        ({"versions": {"mlx": "0.1", "mlx-lm": "0.2"}}, r"\(mlx 0.1, here .*; mlx-lm 0.2", False),
        ({"name": "tiny"}, r"with another model \(llama-8b, not tiny\)", True),
        ({"quantization": None}, "4-bit in groups of 64, here not quantized", True),
        ({"quantization": Quantization(4, 32)}, "here 4-bit in groups of 32", True),
        ({"settings": {"quantization": None}}, "not quantized, here 4-bit", True),
        (
            {"settings": {"quantization": {"bits": 4}, "world_size": 2}},
            "on 2 ranks, each with its share of the batch: one process needs more",
            True,
        ),
        ({"keys": "mlp.up_proj"}, r"other LoRA keys \(qv, here mlp.up_proj\)", True),
        ({"keys": "all"}, r"other LoRA keys \(qv, here all\)", True),
        ({"ranks": 2}, "on one process, and 2 ranks train here, each with its share", True),
        (
            {"settings": {"quantization": {"bits": 4}, "world_size": 4}, "ranks": 2},
            "on 4 ranks, and 2 ranks train here",
            True,
        ),
    ],
)
def test_each_difference_is_named(
    difference: dict[str, Any], message: str, changes_what_runs: bool
) -> None:
    found = compared(**difference)
    [(condition, text)] = found.items()
    assert re.search(message, text), text
    assert (condition in WHAT_RUNS) is changes_what_runs


def test_a_preset_and_its_repository_are_one_model(tmp_path: Path) -> None:
    folder = tmp_path / model().title
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(dict(model().architecture)))
    by_folder = resolve(str(folder), folder, "synthetic", PRESETS)
    assert is_of(read_profile(PROFILE, by_folder), by_folder, PRESETS)

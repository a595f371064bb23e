"""The matrix for machines with little memory is chosen where it suits, and nowhere else."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from pytest_yourai.core.config import LoraConfig, Quantization, key_names
from pytest_yourai.core.errors import MatrixError, ModelError, OptionError
from pytest_yourai.machine.system_memory import SystemMemory
from pytest_yourai.plan import config_choice
from pytest_yourai.plan.planner import SweepSetup, plan_downloaded
from pytest_yourai.plan.stages import Stage, make_run_plan
from pytest_yourai.plugin.read_options import read_options

from support.hub import bare_model
from support.models import TINY
from support.profiles import document

GB = 1_000_000_000
NOTE = "under 10 GB: the low-memory matrix ({}); --yourai-matrix or --quick choose another"
LARGE = {**TINY, "hidden_size": 2048, "num_hidden_layers": 20, "intermediate_size": 8192}


@pytest.fixture(autouse=True)
def _large_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    have(monkeypatch, 64 * GB)


def have(monkeypatch: pytest.MonkeyPatch, size: int, backend: str = "metal") -> None:
    monkeypatch.setattr(
        config_choice, "read_system_memory", lambda: SystemMemory(size, size, swap_used_bytes=0)
    )
    monkeypatch.setattr(config_choice, "installed_backend", lambda: backend)


def setup(pytester: pytest.Pytester, *flags: str, model: str = "llama-8b") -> SweepSetup:
    return only_setup(pytester.parseconfig(f"--yourai-model={model}", *flags))


def only_setup(config: pytest.Config) -> SweepSetup:
    stage = only_stage(config)
    assert stage.setup is not None
    return stage.setup


def only_stage(config: pytest.Config) -> Stage:
    [stage] = make_run_plan(read_options(config)).stages
    return stage


def folder(pytester: pytest.Pytester, **config: Any) -> str:
    path = pytester.mkdir("mine")
    (path / "config.json").write_text(json.dumps({**LARGE, **config}))
    (path / "model.safetensors").write_bytes(b"")
    return str(path)


def notes(found: SweepSetup, *lora_keys: str) -> list[str]:
    chosen = [name for keys in found.plan.source.lora_keys for name in key_names(keys) or ()]
    return list(found.choice.notes(found.model, lora_keys or tuple(chosen)))


def is_for_little_memory(found: SweepSetup) -> bool:
    is_it = found.plan.settings.matrix == "low-memory.yaml"
    assert any(note.startswith("under 10 GB") for note in notes(found)) is is_it
    return is_it


@pytest.mark.parametrize(
    ("flags", "matrix"),
    [
        ((), "full.yaml"),
        (("--yourai-rank=16",), "full.yaml, rank by flag"),
        (("--yourai-rank=16", "--yourai-batch-size=1,2"), "full.yaml, batch and rank by flag"),
        (("--yourai-rank=16", "--yourai-batch-size=1", "--yourai-num-layers=8"), None),
    ],
)
def test_a_profile_names_the_matrix_for_what_is_from_it(
    pytester: pytest.Pytester, flags: tuple[str, ...], matrix: str | None
) -> None:
    assert setup(pytester, *flags).plan.settings.matrix == matrix


def test_a_profile_names_the_list_of_ones_own_presets_and_where_the_model_is(
    pytester: pytest.Pytester,
) -> None:
    plain = setup(pytester).plan.settings
    assert (plain.model, plain.presets_file) == (None, None)
    folder(pytester)
    (pytester.path / "own.yaml").write_text("named: {path: mine}\n")
    own = setup(pytester, "--yourai-models=own.yaml", model="named").plan.settings
    assert (own.model, own.presets_file) == ("./mine", "own.yaml")


@pytest.mark.parametrize(
    ("below", "named"), [("mine", "./mine"), ("me/mine", "./me/mine"), ("a/b/c", "./a/b/c")]
)
def test_a_folder_is_named_as_no_preset_and_no_repository_can_be(
    pytester: pytest.Pytester, below: str, named: str
) -> None:
    path = pytester.path / below
    path.parent.mkdir(parents=True, exist_ok=True)
    Path(folder(pytester)).rename(path)
    assert setup(pytester, model=below).plan.settings.model == named


def test_a_small_budget_gets_the_small_matrix_and_says_so(pytester: pytest.Pytester) -> None:
    found = setup(pytester, "--yourai-max-memory", "9.9")
    assert notes(found) == [NOTE.format("4-bit, self_attn.q_proj")]
    assert list(found.plan.configs) == [
        LoraConfig(1, rank, layers, 512, lora_keys="self_attn.q_proj")
        for rank, layers in ((16, 4), (16, 8), (32, 4), (32, 8))
    ]
    assert found.plan.source.lora_keys == ("self_attn.q_proj",)
    assert not is_for_little_memory(setup(pytester, "--yourai-max-memory", "10"))


@pytest.mark.parametrize(
    ("size_gb", "backend", "expected"),
    [
        (12, "metal", True),
        (12, "cpu", True),
        (20, "cpu", False),
        (2, "cpu", True),  # nothing is left: the sweep refuses by itself
        (12, "cuda", False),  # the device's own memory is not known yet
    ],
)
def test_without_a_budget_this_machine_decides(
    pytester: pytest.Pytester,
    monkeypatch: pytest.MonkeyPatch,
    size_gb: int,
    backend: str,
    expected: bool,
) -> None:
    have(monkeypatch, size_gb * GB, backend)
    assert is_for_little_memory(setup(pytester)) is expected


def test_a_named_budget_counts_on_a_gpu_too(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    have(monkeypatch, 64 * GB, "cuda")
    assert is_for_little_memory(setup(pytester, "--yourai-max-memory", "8"))


@pytest.mark.parametrize("flags", [("--yourai-quick",), ("--yourai-matrix", "m.yaml")])
def test_what_is_named_is_taken(pytester: pytest.Pytester, flags: tuple[str, ...]) -> None:
    Path("m.yaml").write_text("batch_size: [8]\nlora_rank: [8]\nlora_layers: [4]\n")
    assert not is_for_little_memory(setup(pytester, *flags, "--yourai-max-memory", "8"))


def test_small_models_and_unknown_ones_keep_the_full_matrix(pytester: pytest.Pytester) -> None:
    budget = ("--yourai-max-memory", "8")
    assert not is_for_little_memory(setup(pytester, *budget, model="tiny"))
    unknown = folder(pytester, model_type="another", num_local_experts=8)
    assert not is_for_little_memory(setup(pytester, *budget, model=unknown))


def test_a_folder_counts_by_its_parameters(pytester: pytest.Pytester) -> None:
    budget = ("--yourai-max-memory", "8")
    large = folder(pytester)
    stage = only_stage(pytester.parseconfig(f"--yourai-model={large}", *budget))
    assert stage.setup is not None
    assert is_for_little_memory(stage.setup)
    assert all(item_id.endswith("-q4") for item_id in stage.configs_by_id)
    (Path(large) / "config.json").write_text(json.dumps({**LARGE, "num_hidden_layers": 10}))
    assert not is_for_little_memory(setup(pytester, *budget, model=large))


@pytest.mark.parametrize(
    ("config", "how"),
    [
        ({"quantization": {"bits": 8, "group_size": 64}}, "8-bit"),
        ({"quantization": {"bits": 4, "group_size": 32}}, "4-bit"),
        ({"quantization": {"bits": 4, "group_size": 32, "mode": "mxfp4"}}, "mxfp4"),
        ({"quantization_config": {"quant_method": "awq"}}, "awq"),
    ],
)
def test_weights_that_come_quantized_stay_as_they_are(
    pytester: pytest.Pytester, config: dict[str, Any], how: str
) -> None:
    found = setup(pytester, "--yourai-max-memory", "8", model=folder(pytester, **config))
    assert NOTE.format(f"{how}, self_attn.q_proj") in notes(found)
    assert found.plan.source.quantization == found.model.quantization(None)


def test_flags_go_before_the_small_matrix(pytester: pytest.Pytester) -> None:
    flags = ("--yourai-quantize", "none", "--yourai-lora-keys", "self_attn.v_proj,mlp.up_proj")
    found = setup(pytester, "--yourai-max-memory", "8", *flags)
    assert notes(found) == [NOTE.format("not quantized, mlp.up_proj, self_attn.v_proj")]
    assert found.plan.source.requires_lora_keys


def test_a_model_that_names_its_layers_differently_gets_the_usual_keys(
    pytester: pytest.Pytester,
) -> None:
    other = folder(pytester, model_type="phi3")
    found = setup(pytester, "--yourai-max-memory", "8", model=other)
    assert not found.plan.source.requires_lora_keys
    assert NOTE.format("4-bit, the usual LoRA keys") in notes(found, "self_attn.qkv_proj")


def test_a_recording_is_replayed_as_a_whole(pytester: pytest.Pytester) -> None:
    recorded = Path(__file__).parents[2] / "data" / "h200_llama8b_quick.json"
    config = pytester.parseconfig(f"--yourai-replay={recorded}", "--yourai-max-memory=8")
    found = only_setup(config)
    assert len(found.plan.configs) == 12
    assert not is_for_little_memory(found)


def test_peaks_that_stand_in_for_minima_are_noted(pytester: pytest.Pytester) -> None:
    def without_minima(found: dict[str, Any]) -> None:
        found["settings"]["peaks_stand_in_for_minima"] = True

    Path("p.json").write_text(json.dumps(document(without_minima)))
    found = only_setup(pytester.parseconfig("--yourai-replay=p.json"))
    assert notes(found) == [
        "nothing is run: measurements are those of p.json",
        "p.json has no minimum memory: its peaks stand in for it",
    ]
    assert found.plan.settings.peaks_stand_in_for_minima


def test_weights_that_are_there_in_part_are_noted(pytester: pytest.Pytester) -> None:
    incomplete = bare_model(pytester.path / "part", LARGE, shards=2)
    (incomplete / "model-00001-of-00002.safetensors").unlink()
    note = notes(setup(pytester, "--yourai-quick", model=str(incomplete)))[0]
    lacking = "model-00001-of-00002.safetensors"
    assert note == f"the weights of part are synthetic: there is no {lacking}"


def test_a_matrix_for_a_replay_leaves_the_rest_to_the_recording(
    pytester: pytest.Pytester,
) -> None:
    Path("m.yaml").write_text("batch_size: [1, 3]\nlora_rank: [64]\nlora_layers: [16]\n")
    Path("p.json").write_text(json.dumps(document()))
    found = only_setup(pytester.parseconfig("--yourai-replay=p.json", "--yourai-matrix=m.yaml"))
    assert list(found.plan.configs) == [LoraConfig(batch, 64, 16, 512) for batch in (1, 3)]
    assert found.choice.origins["lora_keys"] == "profile"


def test_one_matrix_can_be_named(pytester: pytest.Pytester) -> None:
    with pytest.raises(MatrixError, match="--quick and --yourai-matrix both name a matrix: leave"):
        setup(pytester, "--yourai-quick", "--yourai-matrix=m.yaml")


def test_the_fast_search_refuses_more_than_it_can_plan_for(pytester: pytest.Pytester) -> None:
    sizes, ranks = list(range(1, 14)), list(range(1, 78))
    Path("m.yaml").write_text(f"batch_size: {sizes}\nlora_rank: {ranks}\nlora_layers: [4]\n")
    with pytest.raises(OptionError, match="--yourai-search=fast: 1,001 configurations are more"):
        setup(pytester, "--yourai-matrix=m.yaml", "--yourai-search=fast")
    assert len(setup(pytester, "--yourai-matrix=m.yaml").plan.configs) == 1001


def test_a_check_has_no_configurations_of_its_own(pytester: pytest.Pytester) -> None:
    found = only_setup(pytester.parseconfig("--yourai-benchmark", "--yourai-model=llama-8b"))
    assert found.choice.configs(found.model.depth) == ()
    assert found.choice.matrix is None


def test_once_the_weights_are_here_the_choice_stays_but_suits_them(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = setup(pytester, "--yourai-max-memory", "9.9")
    quantized = {**found.model.architecture, "quantization": {"bits": 8, "group_size": 64}}
    here = dataclasses.replace(found.model, architecture=quantized, weights="local")
    have(monkeypatch, 64 * GB)
    again = plan_downloaded(found, here)
    assert list(again.plan.configs) == list(found.plan.configs)
    assert again.plan.source.quantization == Quantization(8)
    assert again.plan.settings.quantization == Quantization(8)
    assert again.plan.identity != found.plan.identity


def test_weights_that_contradict_a_flag_are_refused_once_they_are_here(
    pytester: pytest.Pytester,
) -> None:
    found = setup(pytester, "--yourai-max-memory", "9.9", "--yourai-quantize=4")
    quantized = {**found.model.architecture, "quantization": {"bits": 8, "group_size": 64}}
    here = dataclasses.replace(found.model, architecture=quantized, weights="local")
    with pytest.raises(ModelError, match="are quantized already"):
        plan_downloaded(found, here)


def test_a_check_is_planned_for_the_weights_that_were_downloaded(
    pytester: pytest.Pytester,
) -> None:
    config = pytester.parseconfig("--yourai-benchmark", "--yourai-model=llama-8b")
    found = only_setup(config)
    shallow = {**found.model.architecture, "num_hidden_layers": 7}
    here = dataclasses.replace(found.model, architecture=shallow, weights="local", folder=Path("m"))
    again = plan_downloaded(found, here).plan
    assert (again.depth, again.configs, again.source.folder) == (7, (), "m")
    assert again.check == found.plan.check
    assert not again.source.synthetic


def test_a_packaged_matrix_has_only_batches_that_divide_the_rows_of_an_update(
    pytester: pytest.Pytester,
) -> None:
    def batches(*flags: str) -> list[int]:
        found = setup(pytester, "--yourai-effective-batch-size=16", *flags).plan.configs
        return sorted({each.batch_size for each in found})

    assert batches() == [1, 2, 4, 8]
    assert batches("--yourai-batch-size=4,6") == [4, 6]
    (pytester.path / "m.yaml").write_text("batch_size: [6]\nlora_rank: [8]\nlora_layers: [4]\n")
    assert batches("--yourai-matrix=m.yaml") == [6]

"""Which models a run goes through, in which order, and under which ids."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from pytest_yourai.core.config import LoraConfig
from pytest_yourai.core.errors import ModelError, OptionError, UnavailableError
from pytest_yourai.core.outcomes import Outcome
from pytest_yourai.core.paths import packaged_models
from pytest_yourai.models.presets import read_presets
from pytest_yourai.models.source import Inspection
from pytest_yourai.plan.stages import RunPlan, make_run_plan
from pytest_yourai.plugin.read_options import read_options

from support.hub import bare_model
from support.models import SMALL_QWEN2, TINY, write_rows
from support.profiles import document

QUANTIZED = {"group_size": 64, "bits": 4}


def run(pytester: pytest.Pytester, *flags: str) -> RunPlan:
    return make_run_plan(read_options(pytester.parseconfig(*flags)))


def listed(pytester: pytest.Pytester, text: str) -> str:
    (pytester.path / "models.yaml").write_text(text)
    (pytester.path / "config.json").write_text(json.dumps(TINY))
    return "--yourai-models=models.yaml"


def test_the_walk_goes_through_the_presets_but_not_tiny(pytester: pytest.Pytester) -> None:
    found = run(pytester, "--yourai-benchmark")
    assert [stage.name for stage in found.stages] == [
        "hermes-mistral-7b",
        "dolphin-8b",
        "llama-8b",
        "r1-distill-14b",
        "hermes-70b",
    ]
    assert [stage.parameters for stage in found.stages] == [7e9, 8e9, 8e9, 14e9, 70e9]
    assert all(stage.is_check for stage in found.stages)
    assert list(found.stages_by_id) == [stage.name for stage in found.stages]
    assert found.options.output.name == "benchmark_results.json"
    assert {stage.setup.plan.steps.measured_steps for stage in found.stages if stage.setup} == {5}


def test_a_walk_over_all_packaged_models_has_the_small_ones_too(pytester: pytest.Pytester) -> None:
    found = run(pytester, "--yourai-benchmark", "--yourai-models=all")
    assert {stage.name for stage in found.stages} == set(read_presets(packaged_models()))
    sizes = [stage.parameters or 0 for stage in found.stages]
    assert sizes == sorted(sizes)


def test_each_check_is_followed_by_the_models_sweep(pytester: pytest.Pytester) -> None:
    found = run(pytester, "--yourai-benchmark", "--yourai-optimize", "--quick")
    assert [(stage.name, stage.is_check) for stage in found.stages][:4] == [
        ("hermes-mistral-7b", True),
        ("hermes-mistral-7b", False),
        ("dolphin-8b", True),
        ("dolphin-8b", False),
    ]
    assert len(found.stages_by_id) == 5 * (1 + 12)


def test_models_go_by_their_number_of_parameters_and_unknown_ones_come_last(
    pytester: pytest.Pytester,
) -> None:
    flag = listed(
        pytester,
        "unknown: {path: nowhere}\n"
        "large: {params: 3B, architecture: config.json}\n"
        "counted: {architecture: config.json}\n"
        "left-out: {params: 1M, architecture: config.json, walk: false}\n",
    )
    found = run(pytester, "--yourai-benchmark", flag)
    assert [stage.name for stage in found.stages] == ["counted", "large", "unknown"]
    sizes = [stage.parameters for stage in found.stages]
    assert sizes[1:] == [3e9, None]
    assert 200_000 < (sizes[0] or 0) < 400_000
    assert found.stages[-1].setup is None
    problem = found.stages[-1].problem
    assert problem is not None
    assert problem.outcome is Outcome.UNAVAILABLE
    assert "there is no folder" in problem.reason


def test_a_named_model_must_be_there(pytester: pytest.Pytester) -> None:
    flag = listed(pytester, "absent: {path: nowhere}\n")
    with pytest.raises(UnavailableError):
        run(pytester, "--yourai-benchmark", flag, "--yourai-model=absent")


@pytest.mark.parametrize("written", ["output", "log"])
@pytest.mark.parametrize(
    ("flag", "read"),
    [
        ("models=link.yaml", "models.yaml"),
        ("matrix=m.yaml", "m.yaml"),
        ("replay=recording.json", "recording.json"),
        ("data=rows", "rows/train.jsonl"),
        ("data=rows", "./rows/valid.jsonl"),
        ("data=rows", "rows/../rows/test.jsonl"),
    ],
)
def test_no_file_that_is_read_is_written(
    pytester: pytest.Pytester, written: str, flag: str, read: str
) -> None:
    listed(pytester, "mine: {architecture: config.json}\n")
    (pytester.path / "link.yaml").symlink_to("models.yaml")
    write_rows(pytester.path / "rows", [{"text": "a"}])
    with pytest.raises(OptionError) as caught:
        run(pytester, "--yourai-model=tiny", f"--yourai-{written}={read}", f"--yourai-{flag}")
    said = str(caught.value)
    assert said.startswith(f"--yourai-{written}: ")
    assert f"is read for --yourai-{flag.partition('=')[0]}: name another file" in said


def test_files_beside_those_that_are_read_may_be_written(pytester: pytest.Pytester) -> None:
    write_rows(pytester.path / "rows", [{"text": "a"}])
    bare_model(pytester.path / "mine", TINY)
    flags = ("--yourai-model=mine", "--yourai-data=rows", "--yourai-output=rows/found.json")
    assert run(pytester, *flags).options.output == pytester.path / "rows" / "found.json"


def test_models_of_one_name_get_names_of_their_own(pytester: pytest.Pytester) -> None:
    for name in ("a", "b", "c"):
        bare_model(pytester.path / name / "mine", SMALL_QWEN2)
    models = [f"--yourai-model={name}/mine" for name in ("a", "b", "c")]
    found = run(pytester, *models, "--yourai-benchmark")
    assert list(found.stages_by_id) == ["mine", "mine-2", "mine-3"]
    folders = [stage.setup.plan.source.folder for stage in found.stages if stage.setup]
    assert [Path(str(folder)).parent.name for folder in folders] == ["a", "b", "c"]


def test_a_model_that_contradicts_a_flag_keeps_its_name(pytester: pytest.Pytester) -> None:
    bare_model(pytester.path / "mine", {**TINY, "quantization": QUANTIZED})
    flag = listed(pytester, "mine: {path: mine}\n")
    found = run(pytester, "--yourai-benchmark", flag, "--yourai-quantize=8")
    assert [(stage.name, stage.problem is None) for stage in found.stages] == [("mine", False)]


@pytest.mark.parametrize("flag", ["--yourai-quantize=8", "--yourai-weights=local"])
def test_a_model_that_cannot_be_tried_keeps_its_size_and_its_place(
    pytester: pytest.Pytester, flag: str
) -> None:
    bare_model(pytester.path / "large", {**SMALL_QWEN2, "quantization": QUANTIZED})
    (pytester.path / "bare").mkdir()
    (pytester.path / "bare" / "config.json").write_text(json.dumps(TINY))
    listing = listed(
        pytester,
        "large: {path: large}\n"
        "absent: {path: nowhere, architecture: config.json}\n"
        "bare: {path: bare}\n"
        "broken: {path: nowhere}\n",
    )
    found = run(pytester, "--yourai-benchmark", listing, flag)
    names = [stage.name for stage in found.stages]
    sizes = [stage.parameters for stage in found.stages]
    assert names == ["absent", "bare", "large", "broken"]
    assert sizes[0] == sizes[1] == pytest.approx(0.25e6, rel=0.2)
    assert sizes[2] == pytest.approx(1.6e6, rel=0.05)
    assert sizes[3] is None
    refused = {stage.name for stage in found.stages if stage.problem}
    expected = {"large", "broken"} if "quantize" in flag else {"absent", "bare", "broken"}
    assert refused == expected


def test_without_a_tokenizer_for_the_data_a_model_keeps_its_size(
    pytester: pytest.Pytester,
) -> None:
    write_rows(pytester.path / "rows", [{"text": "a"}])
    listing = listed(pytester, "bare: {architecture: config.json}\n")
    [stage] = run(pytester, "--yourai-benchmark", listing, "--yourai-data=rows").stages
    assert stage.problem is not None
    assert "has no tokenizer" in stage.problem.reason
    assert stage.parameters is not None


def test_several_named_models_are_swept_smallest_first(pytester: pytest.Pytester) -> None:
    found = run(pytester, "--yourai-model=llama-8b", "--yourai-model=tiny", "--yourai-quick")
    assert [stage.name for stage in found.stages] == ["tiny", "llama-8b"]
    assert [len(stage.configs_by_id) for stage in found.stages] == [12, 12]
    assert not found.has_one_profile
    assert found.options.output.name == "benchmark_results.json"
    one = run(pytester, "--yourai-model=tiny")
    assert one.has_one_profile
    assert one.options.output.name == "optimal_config.json"


def test_an_id_of_a_check_says_what_differs_from_the_defaults(pytester: pytest.Pytester) -> None:
    flags = ("--yourai-seq-length=128,1024", "--yourai-quantize=8", "--yourai-grad-checkpoint")
    found = run(pytester, "--yourai-benchmark", "--yourai-model=llama-8b", *flags)
    assert list(found.stages_by_id) == ["llama-8b-seq1024-q8-ckpt"]


def test_a_check_takes_the_longest_rows_and_before_a_sweep_the_lightest(
    pytester: pytest.Pytester,
) -> None:
    flag = listed(pytester, "bare: {architecture: config.json}\nabsent: {path: nowhere}\n")
    lengths = "--yourai-seq-length=128,1024"
    alone = run(pytester, "--yourai-benchmark", flag, lengths)
    like = LoraConfig(1, 1, 1, 1024)
    assert [stage.check and stage.check.like for stage in alone.stages] == [like] * 2
    (pytester.path / "m.yaml").write_text(
        "batch_size: [1]\nlora_rank: [4]\nlora_layers: [2]\ngrad_checkpoint: [false, true]\n"
    )
    flags = ("--yourai-benchmark", "--yourai-optimize", "--yourai-matrix=m.yaml", flag)
    followed = run(pytester, *flags, lengths)
    checks = [stage for stage in followed.stages if stage.is_check]
    like = LoraConfig(1, 1, 1, 128, lora_keys="all")
    assert [stage.check and stage.check.like for stage in checks] == [like] * 2


def test_a_check_keeps_the_sizes_that_flags_name(pytester: pytest.Pytester) -> None:
    """The largest, for a pass to hold for all; before a sweep of all, the smallest."""
    walk = ("--yourai-benchmark", "--yourai-model=llama-8b", "--yourai-max-memory=24")
    sizes = ("--yourai-batch-size=3,4,8", "--yourai-rank=4,8", "--yourai-num-layers=2,all")
    [alone] = run(pytester, *walk, *sizes).stages
    assert alone.assumed_config == LoraConfig(8, 8, 32, 512)
    first, _ = run(pytester, *walk, *sizes, "--yourai-optimize").stages
    assert first.assumed_config == LoraConfig(3, 4, 2, 512)
    [updates] = run(pytester, *walk, *sizes, "--yourai-effective-batch-size=12").stages
    assert updates.assumed_config.batch_size == 4
    [ranked] = run(pytester, *walk, "--yourai-rank=5").stages
    [free] = run(pytester, *walk).stages
    assert ranked.assumed_config == dataclasses.replace(free.assumed_config, rank=5)
    assert ranked.check
    assert ranked.check.configuration(Inspection(32, 8_000_000_000, {}), 24_000_000_000).rank == 5
    with pytest.raises(OptionError, match="10 is not a multiple of --yourai-batch-size 3, 4, 8"):
        run(pytester, *walk, *sizes, "--yourai-effective-batch-size=10")


@pytest.mark.parametrize(
    ("budget", "expected"),
    [("24", LoraConfig(1, 16, 8, 512)), ("48", LoraConfig(1, 24, 12, 512))],
)
def test_what_is_assumed_to_be_safe_follows_the_named_budget(
    pytester: pytest.Pytester, budget: str, expected: LoraConfig
) -> None:
    found = run(pytester, "--yourai-benchmark", f"--yourai-max-memory={budget}")
    assert found.stages[-1].assumed_config == expected


def test_a_walk_alone_has_no_best_configuration(pytester: pytest.Pytester) -> None:
    with pytest.raises(OptionError, match="finds no best configuration: add --yourai-optimize"):
        run(pytester, "--yourai-benchmark", "--yourai-lora-config=lora.yaml")
    found = run(pytester, "--yourai-benchmark", "--yourai-optimize", "--yourai-lora-config=l.yaml")
    assert found.options.lora_config == pytester.path / "l.yaml"


@pytest.mark.parametrize(
    ("flags", "why"),
    [
        (("lora-config=a", "log=a"), "--yourai-log and --yourai-lora-config are one file"),
        (("lora-config=a", "output=a"), "--yourai-output and --yourai-lora-config are one file"),
        (("lora-config=m", "matrix=m"), "--yourai-lora-config: .* is read for --yourai-matrix"),
    ],
)
def test_no_file_is_written_over_another(
    pytester: pytest.Pytester, flags: tuple[str, ...], why: str
) -> None:
    with pytest.raises(OptionError, match=f"^{why}"):
        run(pytester, "--yourai-model=tiny", *(f"--yourai-{flag}" for flag in flags))


def test_each_sweep_is_soaked_where_that_is_asked_for(pytester: pytest.Pytester) -> None:
    models = ("--yourai-model=tiny", "--yourai-model=llama-8b")
    assert run(pytester, *models).soaked_by_id == {}
    found = run(pytester, *models, "--yourai-soak=0.5")
    assert found.options.soak_s == 30
    assert list(found.soaked_by_id) == ["tiny-soak", "llama-8b-soak"]
    walk = ("--yourai-benchmark", "--yourai-optimize", "--yourai-quick", "--yourai-soak=10")
    stages = run(pytester, *walk).soaked_by_id.values()
    assert len(stages) == 5
    assert not any(stage.is_check for stage in stages)


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--yourai-benchmark",), "add --yourai-optimize, or leave it out"),
        (("--yourai-replay=recorded.json",), "a replay trains nothing"),
    ],
)
def test_a_soak_needs_a_sweep_that_trains(
    pytester: pytest.Pytester, flags: tuple[str, ...], said: str
) -> None:
    with pytest.raises(OptionError, match=f"^--yourai-soak: .*{said}"):
        run(pytester, *flags, "--yourai-soak=10")


@pytest.mark.parametrize("minutes", ["0", "-1", "10001", "nan", "ten"])
def test_minutes_of_a_soak_are_a_number_above_0(pytester: pytest.Pytester, minutes: str) -> None:
    with pytest.raises(OptionError, match="--yourai-soak: .* above 0 and at most 10000"):
        run(pytester, "--yourai-model=tiny", f"--yourai-soak={minutes}")


def test_an_ini_key_that_asks_for_a_soak_does_not_forbid_a_walk(pytester: pytest.Pytester) -> None:
    pytester.makeini("[pytest]\nyourai_soak = 10\n")
    assert run(pytester, "--yourai-benchmark").soaked_by_id == {}


def test_a_list_whose_models_are_all_left_out_of_walks_is_an_error(
    pytester: pytest.Pytester,
) -> None:
    flag = listed(pytester, "mine: {architecture: config.json, walk: false}\n")
    with pytest.raises(OptionError, match=r"models\.yaml has no model to walk: add one"):
        run(pytester, "--yourai-benchmark", flag)


def test_a_named_model_that_contradicts_a_flag_ends_the_run(pytester: pytest.Pytester) -> None:
    bare_model(pytester.path / "mine", {**TINY, "quantization": QUANTIZED})
    with pytest.raises(ModelError, match="are quantized already"):
        run(pytester, "--yourai-benchmark", "--yourai-model=mine", "--yourai-quantize=8")


def test_two_models_with_an_item_of_one_name_are_an_error(pytester: pytest.Pytester) -> None:
    listing = listed(
        pytester,
        "mine: {architecture: config.json, defaults: {max_seq_length: 64}}\n"
        "mine-seq128: {architecture: config.json, defaults: {max_seq_length: 128}}\n",
    )
    with pytest.raises(OptionError, match="same name, mine-seq128: give one of them another name"):
        run(pytester, "--yourai-benchmark", listing, "--yourai-seq-length=128")


class TestReplay:
    def recorded(self, pytester: pytest.Pytester, model: str) -> str:
        (pytester.path / "recorded.json").write_text(
            json.dumps(document(lambda d: d.update(model=model)))
        )
        return "--yourai-replay=recorded.json"

    def test_a_model_that_nobody_knows_is_replayed_by_its_name(
        self, pytester: pytest.Pytester
    ) -> None:
        [stage] = run(pytester, self.recorded(pytester, "somebody/else-3b")).stages
        assert (stage.name, stage.parameters) == ("somebody-else-3b", None)
        assert len(stage.configs_by_id) == 12

    def test_a_preset_is_known_by_its_name_alone(self, pytester: pytest.Pytester) -> None:
        [stage] = run(pytester, self.recorded(pytester, "llama-8b")).stages
        assert (stage.name, stage.parameters) == ("llama-8b", 8e9)

    def test_the_recording_of_another_model_is_refused(self, pytester: pytest.Pytester) -> None:
        flag = self.recorded(pytester, "llama-8b")
        with pytest.raises(OptionError, match="is of llama-8b, not of tiny: leave --yourai-model"):
            run(pytester, flag, "--yourai-model=tiny")


FULL_OF_QUANTIZED = "full fine-tuning cannot train the 4-bit weights of tiny, for which MLX has no"


def test_full_fine_tuning_of_quantized_weights_is_refused_by_what_asks_for_it(
    pytester: pytest.Pytester,
) -> None:
    (pytester.path / "lora.yaml").write_text("fine_tune_type: full\nbatch_size: 1\n")
    text = "batch_size: 1\nlora_rank: 4\nlora_layers: 2\nfine_tune_type: [lora, full]\n"
    (pytester.path / "m.yaml").write_text(text)
    for flag, asked_by in (
        ("--yourai-fine-tune-type=full", "--yourai-fine-tune-type"),
        ("--yourai-matrix=m.yaml", r".*m\.yaml: fine_tune_type"),
        ("--yourai-config=lora.yaml", r".*lora\.yaml: fine_tune_type"),
    ):
        expected = rf"^{asked_by}: {FULL_OF_QUANTIZED}.* full precision \(--yourai-quantize none\)$"
        with pytest.raises(ModelError, match=expected):
            run(pytester, "--yourai-model=tiny", flag, "--yourai-quantize=4")
        assert run(pytester, "--yourai-model=tiny", flag).stages[0].setup is not None


def test_the_settings_name_the_recipe_file(pytester: pytest.Pytester) -> None:
    (pytester.path / "lora.yaml").write_text("model: tiny\nbatch_size: 1\n")
    [stage] = run(pytester, "--yourai-config=lora.yaml").stages
    assert stage.setup is not None
    assert stage.setup.plan.settings.recipe_file == "lora.yaml"


def test_the_settings_name_a_model_that_is_not_a_preset(pytester: pytest.Pytester) -> None:
    def named(*flags: str) -> list[str | None]:
        plan = run(pytester, "--quick", *flags)
        return [stage.setup.plan.settings.model for stage in plan.stages if stage.setup]

    bare_model(pytester.path / "mine", TINY)
    bare_model(pytester.path / "models" / "mine-too", TINY)
    assert named("--yourai-model=tiny") == [None]
    assert named("--yourai-model=mine") == ["./mine"]
    # Two words may be a repository.
    assert named("--yourai-model=models/mine-too") == ["./models/mine-too"]


def test_a_walk_goes_on_without_models_that_cannot_be_trained_so(
    pytester: pytest.Pytester,
) -> None:
    (pytester.path / "quantized.json").write_text(json.dumps({**TINY, "quantization": QUANTIZED}))
    text = "made: {architecture: config.json}\nstored: {architecture: quantized.json}\n"
    flags = "--yourai-benchmark", "--yourai-optimize", listed(pytester, text)
    found = run(pytester, *flags, "--yourai-fine-tune-type=full")
    problems = {stage.name: stage.problem for stage in found.stages}
    for name, flag in (("made", "(--yourai-quantize none)"), ("stored", "precision")):
        problem = problems[name]
        assert problem is not None
        assert problem.outcome is Outcome.ERROR
        assert problem.reason.endswith(flag)


def test_what_is_wanted_is_named_once(pytester: pytest.Pytester) -> None:
    sweep = run(pytester, "--yourai-model=tiny", "--quick").stages[0].setup
    assert sweep is not None
    assert len(sweep.plan.configs) == 12
    assert {(each.rank, each.num_layers) for each in sweep.plan.wanted.configs} == {
        (4, 2),
        (4, 4),
        (8, 2),
        (8, 4),
    }
    check = run(pytester, "--yourai-benchmark").stages[0].setup
    assert check is not None
    assert len(check.plan.wanted.configs) == 1

"""What to type next."""

from __future__ import annotations

import dataclasses
import json
import shlex
from collections.abc import Sequence
from pathlib import Path

import pytest

from pytest_yourai.core.conditions import SweepSettings
from pytest_yourai.core.config import LoraConfig
from pytest_yourai.core.device import DeviceInfo
from pytest_yourai.core.outcomes import Outcome, Skip, SkipReason
from pytest_yourai.core.results import TrialResult
from pytest_yourai.machine.budget import Budget
from pytest_yourai.models.dataset_lengths import TrainingData
from pytest_yourai.models.source import Inspection
from pytest_yourai.plan.invocation import Invocation
from pytest_yourai.plan.stages import make_run_plan
from pytest_yourai.plan.sweep_plan import SweepContext
from pytest_yourai.plugin.read_options import read_options
from pytest_yourai.report.commands import next_steps
from pytest_yourai.sweep.reports import ItemCounts, TrialReport
from pytest_yourai.sweep.run_results import RunResults
from pytest_yourai.sweep.stage_info import StageInfo

from support.models import TINY
from support.profiles import DATA, QUICK

GB = 1_000_000_000
CONFIG = LoraConfig(4, 64, 16, 512)
OPENED = StageInfo(
    title="x",
    weights="synthetic 4-bit",
    settings=SweepSettings(),
    notes=(),
    context=SweepContext(
        DeviceInfo("cuda", "H200", 10, None, "0.32", "0.32"),
        Inspection(32, 8 * GB, {}),
        Budget(28 * GB, "as given"),
    ),
    preflight=None,
    quantized_on_load=None,
)


def test_what_is_refused_as_it_is_needs_another_matrix_and_no_resume(
    pytester: pytest.Pytester,
) -> None:
    setup = make_run_plan(read_options(pytester.parseconfig("--yourai-model=llama-8b")))
    collected = RunResults(setup)
    [stage] = setup.stages
    for rule, expected in ((SkipReason.INVALID, 0), (SkipReason.NOT_RECORDED, 1)):
        result = TrialResult.skipped(stage.name, CONFIG, Skip(rule, "why"))
        collected.add(
            TrialReport(stage.name, False, ItemCounts(1, 1, 1), OPENED, None, None, result)
        )
        lines = list(next_steps(setup, collected, Invocation(("--yourai-model=llama-8b",)), "p"))
        assert len([each for each in lines if "--yourai-resume" in each]) == expected


def said(
    pytester: pytest.Pytester,
    *arguments: str,
    outcome: Outcome = Outcome.OK,
    selected: int = 1,
    config: LoraConfig = CONFIG,
    is_soaking: bool = False,
    is_short: bool = False,
    training: tuple[str, ...] = (),
    needs: int = 8 * GB,
    opened: StageInfo = OPENED,
) -> list[str]:
    """After one trial of each model, or of each check."""
    setup = make_run_plan(read_options(pytester.parseconfig(*arguments)))
    collected = RunResults(setup)
    for stage in setup.stages:
        result = TrialResult(
            stage.name,
            config,
            outcome,
            None if outcome is Outcome.OK else "it was too much",
            step_times_s=(1.0,),
            step_tokens=(511,),
            minimum_memory_bytes=needs,
            peak_memory_bytes=needs + GB,
        )
        counts = ItemCounts(of_stage=selected, of_all=selected * len(setup.stages), models=1)
        collected.add(TrialReport(stage.name, stage.is_check, counts, opened, None, None, result))
    collected.is_soaking = is_soaking
    invocation = Invocation(arguments, is_short, training)
    return list(next_steps(setup, collected, invocation, "optimal_config.json"))


def test_after_a_quick_sweep_it_is_training_or_the_full_matrix(pytester: pytest.Pytester) -> None:
    assert said(
        pytester, "--quick", "-k", "a b", "--lf", "--yourai-model", "llama-8b", "--yourai-quick"
    ) == [
        (
            "Next: yourai train --model llama-8b --profile optimal_config.json --weights hub "
            "--data FOLDER"
        ),
        "Or the full matrix: pytest --yourai-model llama-8b",
    ]


def test_what_was_given_for_the_model_and_its_data_is_given_again(
    pytester: pytest.Pytester,
) -> None:
    (pytester.path / "own.yaml").write_text("mine: {path: llama, params: 1B}\n")
    flags = ["--yourai-model=mine", "--yourai-models=own.yaml", "--yourai-trust-remote-code"]
    pytester.mkdir("llama").joinpath("config.json").write_text(
        '{"model_type": "llama", "num_hidden_layers": 2, "hidden_size": 64, '
        '"intermediate_size": 64, "num_attention_heads": 4, "vocab_size": 64, '
        '"rms_norm_eps": 1e-5}'
    )
    [line] = said(pytester, *flags)
    assert line == (
        "Next, as a dry run: yourai train --model mine --profile optimal_config.json "
        f"--models {pytester.path / 'own.yaml'} --weights synthetic --trust-remote-code"
    )


def test_shorter_rows_are_offered_with_the_command_that_trains_so(
    pytester: pytest.Pytester,
) -> None:
    data = TrainingData((100,) * 97 + (500,) * 3)
    inspection = dataclasses.replace(OPENED.context.inspection, data=data)
    opened = dataclasses.replace(
        OPENED, context=dataclasses.replace(OPENED.context, inspection=inspection)
    )
    flags = ("--yourai-model=llama-8b", "--yourai-weights=hub", "--yourai-data=a/b")
    _, offer, command = said(pytester, *flags, opened=opened)[:3]
    assert offer.startswith("Or with shorter rows, 256: 3 % of rows cut (6.5 % of tokens), needs ")
    assert offer.endswith(" instead of 8.0 GB, by estimate")
    assert command == (
        "    yourai train --model llama-8b --profile optimal_config.json --data a/b "
        "--batch-size 4 --rank 64 --num-layers 16 --seq-length 256"
    )


def test_a_recipe_is_named_again_and_names_its_data(pytester: pytest.Pytester) -> None:
    (pytester.path / "lora.yaml").write_text("model: llama-8b\ndata: a/b\nmask_prompt: true\n")
    train = "Next: yourai train --model llama-8b --profile optimal_config.json --config lora.yaml"
    assert said(pytester, "--yourai-config=lora.yaml", "--yourai-weights=hub") == [
        f"{train} --mask-prompt"
    ]
    [other] = said(
        *(pytester, "--yourai-config=lora.yaml", "--yourai-weights=hub", "--yourai-data=c/d")
    )
    assert other == f"{train} --data c/d --mask-prompt"
    (pytester.path / "lora.yaml").write_text("model: llama-8b\n")
    [none] = said(pytester, "--yourai-config=lora.yaml", "--yourai-weights=hub")
    assert none == f"{train} --data FOLDER"


def test_after_a_replay_the_same_configurations_are_measured(pytester: pytest.Pytester) -> None:
    (pytester.path / "m.yaml").write_text("batch_size: [4]\nlora_rank: [64]\nlora_layers: [16]\n")
    measured = "Next, to measure it here: pytest --yourai-model=llama-8b"
    assert said(pytester, f"--yourai-replay={QUICK}") == [f"{measured} --quick"]
    with_matrix = (f"--yourai-replay={QUICK}", "--yourai-matrix=m.yaml")
    assert said(pytester, *with_matrix) == [f"{measured} --yourai-matrix=m.yaml"]


def test_after_a_replay_what_was_not_usual_is_measured_so(pytester: pytest.Pytester) -> None:
    command = "--yourai-model=llama-8b --quick"
    flag = f"--yourai-replay={DATA / 'matrix_h200_llama8b_256.json'}"
    [line] = said(pytester, flag)
    assert line.endswith(f"{command} --yourai-seq-length=256")
    recorded = json.loads(QUICK.read_text())
    recorded.pop("digest", None)
    for row in recorded["all_results"]:
        row |= {"grad_checkpoint": True, "max_seq_length": 512}
    (pytester.path / "ckpt.json").write_text(json.dumps(recorded))
    [line] = said(pytester, "--yourai-replay=ckpt.json")
    assert line.endswith(f"{command} --yourai-grad-checkpoint")


def test_what_several_ranks_measured_is_measured_by_as_many(pytester: pytest.Pytester) -> None:
    recorded = json.loads(QUICK.read_text())
    recorded["settings"] |= {"world_size": 4, "distributed_backend": "ring"}
    recorded.pop("digest", None)
    (pytester.path / "four.json").write_text(json.dumps(recorded))
    [line] = said(pytester, "--yourai-replay=four.json")
    assert line == (
        "Next, to measure it here: pytest --yourai-model=llama-8b --quick --yourai-hosts=4"
    )


def accumulated(folder: Path, steps: Sequence[int]) -> None:
    """A recording whose rows accumulate so many steps, one after the other."""
    recorded = json.loads(QUICK.read_text())
    recorded["all_results"] = recorded["all_results"][: len(steps)]
    for row, each in zip(recorded["all_results"], steps, strict=True):
        row |= {
            "batch_size": 16 // each,
            "lora_rank": 8,
            "lora_layers": 4,
            "grad_accumulation_steps": each,
        }
    recorded.pop("digest", None)
    (folder / "accumulated.json").write_text(json.dumps(recorded))


def test_accumulation_that_follows_is_measured_again_as_it_was_asked_for(
    pytester: pytest.Pytester,
) -> None:
    accumulated(pytester.path, (16, 8, 4))
    [line] = said(pytester, "--yourai-replay=accumulated.json")
    assert line.endswith(" --quick --yourai-effective-batch-size=16")
    flag = "--yourai-effective-batch-size=16"
    [line] = said(pytester, "--yourai-replay=accumulated.json", flag)
    assert line.count("effective-batch-size=16") == 1
    assert "accumulation" not in line


def test_the_flags_of_a_replay_are_kept_to_measure_it_here(pytester: pytest.Pytester) -> None:
    flags = ("--yourai-max-memory=40", "--yourai-batch-size=4", "--yourai-rank=64")
    [line] = said(pytester, f"--yourai-replay={QUICK}", *flags, "-k", "rank64")
    assert line == f"Next, to measure it here: pytest --yourai-model=llama-8b {' '.join(flags)}"
    quick, _ = said(pytester, f"--yourai-replay={QUICK}", "--quick", "--yourai-max-memory=40")
    assert quick.endswith(" --yourai-model=llama-8b --quick --yourai-max-memory=40")


def test_a_replayed_model_that_is_no_preset_is_left_to_the_user(pytester: pytest.Pytester) -> None:
    recorded = json.loads(QUICK.read_text())
    recorded["model"] = "other-3b"
    recorded.pop("digest", None)
    (pytester.path / "other.json").write_text(json.dumps(recorded))
    [line] = said(pytester, "--yourai-replay=other.json")
    assert line == ("Next, to measure it here with other-3b: pytest --yourai-model=FOLDER --quick")


def test_weights_that_are_made_up_are_a_dry_run(pytester: pytest.Pytester) -> None:
    assert said(pytester, "--yourai-model=tiny") == [
        (
            "Next, as a dry run: yourai train --model tiny --profile optimal_config.json "
            "--weights synthetic"
        )
    ]


def test_what_is_not_complete_can_be_resumed(pytester: pytest.Pytester) -> None:
    resumed = ["To go on: pytest --yourai-model=tiny --yourai-resume"]
    assert said(pytester, "--yourai-model=tiny", selected=2) == resumed
    assert said(pytester, "--yourai-model=tiny", "--yourai-resume", selected=2) == resumed


def test_a_soak_that_was_broken_off_is_gone_on_with(pytester: pytest.Pytester) -> None:
    flags = ("--yourai-model=tiny", "--yourai-soak=1")
    assert said(pytester, *flags, is_soaking=True) == [
        "To go on: pytest --yourai-model=tiny --yourai-soak=1 --yourai-resume"
    ]


def test_a_smaller_model_is_estimated_within_the_same_budget(pytester: pytest.Pytester) -> None:
    flags = ("--yourai-model=llama-8b", "--yourai-max-memory=5.5")
    lines = said(pytester, *flags, outcome=Outcome.OVER_BUDGET)
    assert lines[-1].endswith(": pytest --yourai-recommend --yourai-max-memory=5.5")


def test_where_nothing_fits_it_is_the_nearest_that_does(pytester: pytest.Pytester) -> None:
    lines = said(
        pytester,
        *("--yourai-model=llama-8b", "--yourai-seq-length", "4096", "--quick", "-k", "batch4"),
        outcome=Outcome.OVER_BUDGET,
        config=dataclasses.replace(CONFIG, max_seq_length=4096),
        needs=40 * GB,
    )
    assert lines[0] == "Next, what fits by estimate, the least change first"
    changes, commands = lines[1:-1:2], lines[2:-1:2]
    assert "checkpointing: " in changes[0]
    assert "batch 2 with accumulation 2: " in changes[1]
    assert all(": needs " in line for line in changes)
    for command in commands:
        assert command.startswith("    pytest --yourai-model=llama-8b ")
        assert "--yourai-seq-length" in command
        assert "--yourai-batch-size=" in command
        assert "-k" not in command
        read_options(pytester.parseconfig(*shlex.split(command)[1:]))
    assert lines[-1].startswith(
        "Or a smaller model, of those that fit by estimate: pytest --yourai-"
    )


def test_where_nothing_can_fit_no_change_is_advised(pytester: pytest.Pytester) -> None:
    lines = said(pytester, "--yourai-model=hermes-70b", outcome=Outcome.OOM, needs=60 * GB)
    assert lines[0] == "By estimate this model does not fit, whatever is changed"
    assert len(lines) == 2


def test_a_smaller_model_is_estimated_as_this_one_was_trained(pytester: pytest.Pytester) -> None:
    (pytester.path / "any.yaml").write_text("optimizer: adafactor\n")
    (pytester.path / "one.yaml").write_text("model: tiny\noptimizer: adafactor\n")
    for name, is_kept in (("any", True), ("one", False)):
        given = ("--yourai-model=hermes-70b", f"--yourai-config={name}.yaml")
        lines = said(pytester, *given, outcome=Outcome.OOM, needs=60 * GB)
        assert ("--yourai-config" in lines[-1]) is is_kept


def test_a_model_that_cannot_be_estimated_gets_the_usual_remedies(
    pytester: pytest.Pytester,
) -> None:
    mixture = {**TINY, "model_type": "mixtral", "num_local_experts": 4}
    pytester.mkdir("mix").joinpath("config.json").write_text(json.dumps(mixture))
    given = ("--yourai-model=mix", "--yourai-seq-length", "512", "--yourai-quantize=8")
    assert said(pytester, *given, outcome=Outcome.OVER_BUDGET)[:-1] == [
        "Next: what takes less memory, one or more of",
        (
            "  pytest --yourai-model=mix --yourai-seq-length 512 --yourai-quantize=8 "
            "--yourai-grad-checkpoint"
        ),
        "  pytest --yourai-model=mix --yourai-quantize=8 --yourai-seq-length=256",
        "  pytest --yourai-model=mix --yourai-seq-length 512 --yourai-quantize=4",
        "  a --yourai-matrix=FILE with a batch_size of 1",
    ]
    lean = dataclasses.replace(CONFIG, batch_size=1, max_seq_length=64, grad_checkpoint=True)
    quantized = ("--yourai-model=mix", "--yourai-quantize=4")
    assert said(pytester, *quantized, outcome=Outcome.OVER_BUDGET, config=lean)[1:-1] == [
        "  a --yourai-matrix=FILE with a smaller lora_rank and lora_layers"
    ]


def test_what_failed_otherwise_is_run_again_once_that_is_fixed(pytester: pytest.Pytester) -> None:
    assert said(pytester, "--yourai-model=llama-8b", outcome=Outcome.ERROR) == [
        "Next, once what failed is fixed: pytest --yourai-model=llama-8b --yourai-resume"
    ]


def test_after_a_walk_it_is_the_sweep_of_the_recommended_model(pytester: pytest.Pytester) -> None:
    assert said(pytester, "--yourai-benchmark") == [
        "Next: pytest --yourai-model=hermes-70b --quick"
    ]
    assert said(pytester, "--yourai-benchmark", outcome=Outcome.OOM) == [
        "Next, what fits by estimate: pytest --yourai-recommend"
    ]


def test_what_was_given_for_a_walk_is_given_for_the_sweep(pytester: pytest.Pytester) -> None:
    walk = ("--yourai-benchmark", "--yourai-models=all", "--yourai-output=w.json", "-k", "8b")
    flags = ("--yourai-max-memory=28", "--yourai-rank=16", "--yourai-grad-checkpoint")
    [line] = said(pytester, *walk, *flags)
    assert line == f"Next: pytest --yourai-model=hermes-70b {' '.join(flags)} --quick"
    separate = (*walk, *flags[:1], "--yourai-rank", "16", flags[2])
    [line] = said(pytester, *separate, outcome=Outcome.OOM)
    assert line == (
        "Next, what fits by estimate: pytest --yourai-recommend --yourai-max-memory=28 "
        "--yourai-rank 16 --yourai-grad-checkpoint"
    )


def test_of_several_models_the_recommended_one_is_trained(pytester: pytest.Pytester) -> None:
    [line] = said(pytester, "--yourai-model=llama-8b", "--yourai-model=r1-distill-14b")
    assert line.startswith("Next: yourai train --model r1-distill-14b --profile ")


def test_who_came_by_the_command_goes_on_with_it(pytester: pytest.Pytester) -> None:
    given = ("--yourai-model=llama-8b", "--yourai-quick", "--yourai-max-memory=28")
    training, full = said(pytester, *given, is_short=True, training=("--iters", "600"))
    assert training.endswith(" --weights hub --data FOLDER --iters 600")
    assert full == "Or the full matrix: yourai sweep llama-8b --max-memory 28"
    [on] = said(pytester, *given, selected=2, is_short=True)
    assert on == "To go on: yourai sweep llama-8b --quick --max-memory 28 --resume"
    [walk] = said(pytester, "--yourai-benchmark", "--yourai-model=llama-8b", is_short=True)
    assert walk == "Next: yourai sweep llama-8b --quick"
    tried = said(pytester, *given, outcome=Outcome.OVER_BUDGET, is_short=True)
    assert tried[-1].endswith(": yourai fit --max-memory 28")
    assert all("--yourai-" not in line or "FILE" in line for line in tried)


def test_ranks_that_were_swept_train(pytester: pytest.Pytester) -> None:
    [line] = said(pytester, "--yourai-model=llama-8b", "--yourai-hosts=2")
    assert line.endswith("--profile optimal_config.json --hosts 2 --weights hub --data FOLDER")
    (pytester.path / "hosts.json").write_text(
        '[{"ssh": "a", "ips": ["10.0.0.1"]}, {"ssh": "b", "ips": ["10.0.0.2"]}]'
    )
    flags = ("--yourai-hosts=hosts.json", "--yourai-hosts-backend=ring")
    [line] = said(pytester, "--yourai-model=llama-8b", *flags)
    assert " --hosts hosts.json --hosts-backend ring " in line

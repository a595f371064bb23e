"""What the sweep before training is asked, and what its profile decides."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from pytest_yourai.core.conditions import Environment, SweepSettings
from pytest_yourai.core.config import LoraConfig, Objective, Optimizer, Quantization
from pytest_yourai.core.errors import SweepFailedError
from pytest_yourai.core.files import write_json
from pytest_yourai.core.hosts import DistributedBackend, HostGroup
from pytest_yourai.core.outcomes import Outcome, SkipReason
from pytest_yourai.core.results import TrialResult
from pytest_yourai.plan.flags import FLAGS
from pytest_yourai.store.profile import build_profile
from pytest_yourai.training.auto_optimize import PROFILE, choose, sweep_arguments
from pytest_yourai.training.measured_profile import ChosenConfig
from pytest_yourai.training.resolve_settings import resolve_options
from pytest_yourai.training.start import begin

from support.training import asked, saved_by

CONFIG = LoraConfig(2, 8, 4, 64)


def failed(outcome: Outcome, reason: str = "why", **more: Any) -> TrialResult:
    return TrialResult("tiny", CONFIG, outcome, reason, **more)


def decided(
    folder: Path,
    results: Sequence[TrialResult],
    lora_keys: tuple[str, ...] = ("self_attn.q_proj", "self_attn.v_proj"),
    **values: Any,
) -> ChosenConfig:
    path = folder / PROFILE
    document = build_profile(
        model="tiny",
        results=results,
        complete=True,
        objective=Objective.SCORE,
        memory_limit_bytes=10**9,
        settings=SweepSettings(lora_keys=lora_keys),
        environment=Environment(),
    )
    write_json(path, document, "--yourai-output")
    options = asked(folder, **values)
    return choose(path, options, begin(options).model, "just now")


def test_what_training_is_asked_is_passed_on(tmp_path: Path) -> None:
    options = asked(
        tmp_path,
        auto_optimize=True,
        data="/data",
        presets=Path("/mine.yaml"),
        quick=True,
        memory_limit_bytes=1_500_000_000,
        max_seq_length=96,
        quantize=Quantization(4),
        lora_keys="a,b",
        optimizer=Optimizer.ADAMW,
        dropout=0.05,
        grad_checkpoint=True,
        force=True,
        trust_remote_code=True,
    )
    assert list(sweep_arguments(options)) == [
        "--yourai-model=tiny",
        "--yourai-data=/data",
        "--yourai-seq-length=96",
        "--yourai-grad-checkpoint",
        "--yourai-optimizer=adamw",
        "--yourai-lora-keys=a,b",
        "--yourai-dropout=0.05",
        "--yourai-quantize=4",
        "--yourai-max-memory=1.5",
        "--yourai-quick",
        "--yourai-models=/mine.yaml",
        "--yourai-weights=synthetic",
        "--yourai-force",
        "--yourai-trust-remote-code",
        f"--yourai-output={tmp_path}/adapters/optimal_config.json",
        f"--yourai-log={tmp_path}/adapters/benchmark_log.jsonl",
        "--config-file=/dev/null",
        f"--rootdir={Path.cwd()}",
    ]


def test_what_is_not_asked_is_left_to_the_sweep(tmp_path: Path) -> None:
    options = asked(tmp_path, quantize="none", grad_checkpoint=False, matrix=Path("/m.yaml"))
    arguments = list(sweep_arguments(options))
    assert arguments[:-4] == [
        "--yourai-model=tiny",
        "--yourai-quantize=none",
        "--yourai-matrix=/m.yaml",
        "--yourai-weights=synthetic",
        "-oyourai_grad_checkpoint=false",
    ]
    known = {flag.option for flag in FLAGS}
    assert {each.partition("=")[0] for each in arguments[:-2] if each.startswith("--")} <= known


def test_its_optimum_is_used_although_something_failed(tmp_path: Path) -> None:
    fits = TrialResult(
        "tiny",
        LoraConfig(1, 8, 2, 64),
        Outcome.OK,
        step_times_s=(0.1,),
        step_tokens=(63,),
        minimum_memory_bytes=10**6,
        peak_memory_bytes=2 * 10**6,
        active_memory_bytes=10**6,
    )
    decision = decided(tmp_path, [fits, failed(Outcome.CRASHED)])
    settings = resolve_options(begin(asked(tmp_path)), decision)
    assert settings.config == fits.config
    assert settings.baseline is not None
    assert settings.baseline.active_memory_bytes == 10**6
    assert ("batch_size", "1", "just now") in [(e.name, e.value, e.origin) for e in settings.used]


@pytest.mark.parametrize(
    "results",
    [
        [failed(Outcome.OVER_BUDGET), failed(Outcome.SKIPPED, "no smaller", started=False)],
        [failed(Outcome.OOM)],
        [
            failed(
                Outcome.SKIPPED,
                "too large",
                started=False,
                skip_reason=SkipReason.PREDICTED_OVER_BUDGET,
            )
        ],
    ],
)
def test_where_nothing_fits_the_most_frugal_configuration_is_tried(
    tmp_path: Path, results: list[TrialResult]
) -> None:
    decision = decided(tmp_path, results)
    settings = resolve_options(begin(asked(tmp_path)), decision)
    assert settings.config == LoraConfig(
        1, 16, 4, 64, grad_checkpoint=True, lora_keys="self_attn.q_proj"
    )
    assert settings.source.lora_keys == ("self_attn.q_proj",)
    assert settings.source.quantization == Quantization(4)
    assert settings.baseline is None
    assert [each for each in settings.warnings if "nothing that was swept fits (1 " in each]
    assert {each.origin for each in settings.used if each.name == "lora_rank"} == {
        "fallback: nothing fits"
    }


def test_the_most_frugal_configuration_of_ranks_is_a_row_for_each(tmp_path: Path) -> None:
    ranks = HostGroup.here(2)
    decision = decided(tmp_path, [failed(Outcome.OOM)], hosts=ranks)
    assert resolve_options(begin(asked(tmp_path, hosts=ranks)), decision).config.batch_size == 2


def test_the_most_frugal_keys_are_those_that_the_swept_model_has(tmp_path: Path) -> None:
    decision = decided(tmp_path, [failed(Outcome.OOM)], lora_keys=("self_attn.qkv_proj",))
    assert resolve_options(begin(asked(tmp_path)), decision).config.lora_keys == CONFIG.lora_keys


def test_a_resumed_run_falls_back_as_it_did_before(tmp_path: Path) -> None:
    first = resolve_options(begin(asked(tmp_path)), decided(tmp_path, [failed(Outcome.OOM)]))
    saved_by(first)
    resumed = resolve_options(begin(asked(tmp_path, resume=True)), None)
    assert resumed.config == first.config
    assert resumed.source == first.source


@pytest.mark.parametrize(
    ("results", "message"),
    [
        ([failed(Outcome.OOM), failed(Outcome.CRASHED, "by itself")], "crashed: by itself"),
        ([failed(Outcome.UNAVAILABLE, "gated", started=False)], "unavailable: gated"),
        ([failed(Outcome.SKIPPED, "too few rows", started=False)], "skipped: too few rows"),
    ],
)
def test_other_failures_end_it_with_their_reason(
    tmp_path: Path, results: list[TrialResult], message: str
) -> None:
    with pytest.raises(SweepFailedError, match=message):
        decided(tmp_path, results)


def test_without_a_profile_there_is_no_answer(tmp_path: Path) -> None:
    with pytest.raises(SweepFailedError, match="the sweep left no profile"):
        choose(tmp_path / PROFILE, asked(tmp_path), begin(asked(tmp_path)).model, "just now")


def test_the_sweep_has_the_ranks_of_the_training(tmp_path: Path) -> None:
    options = asked(tmp_path, hosts=HostGroup.here(2), hosts_backend=DistributedBackend.RING)
    arguments = list(sweep_arguments(options))
    assert "--yourai-hosts=2" in arguments
    assert "--yourai-hosts-backend=ring" in arguments

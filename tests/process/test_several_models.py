"""Several named models are swept one after the other, the smallest first."""

from __future__ import annotations

import pytest

from support.models import SMALL_QWEN2, make_model
from support.processes import SweepResult

MATRIX = "batch_size: [1, 16]\nlora_rank: [4]\nlora_layers: [2]\n"


def run(pytester: pytest.Pytester, *arguments: str) -> SweepResult:
    (pytester.path / "m.yaml").write_text(MATRIX)
    make_model(pytester.path / "large", SMALL_QWEN2)
    models = ("--yourai-model", "large", "--yourai-model", "tiny")
    flags = ("--yourai-matrix", "m.yaml", "--yourai-steps", "2", "--yourai-seq-length", "64")
    return SweepResult(pytester.runpytest_inprocess(*models, *flags, *arguments), pytester.path)


def test_the_smallest_comes_first_and_what_fails_there_is_not_tried_with_larger_ones(
    pytester: pytest.Pytester,
) -> None:
    done = run(pytester, "--yourai-max-memory", "0.011", "--yourai-force", "-v")
    assert done.ret == 0, done.text + done.errors
    done.stdout.fnmatch_lines(
        [
            "Testing 2 configurations for: tiny *",
            "[[]1/2] batch=1, rank=4, layers=2 ... ✓ *",
            "[[]2/2] batch=16, rank=4, layers=2 ... ✗ over budget: *",
            "*argest* configuration that fits: tiny",
            "Testing 2 configurations for: large *",
            "[[]1/2] batch=1, rank=4, layers=2 ... ✓ *",
            "[[]2/2] batch=16, rank=4, layers=2 ... - skipped: no smaller than tiny with *",
            "*argest* configuration that fits: large",
            "Recommended: large (largest model that fits)",
            "Alternatives: tiny",
            "Saved to: benchmark_results.json",
        ]
    )
    found = done.benchmark
    assert [row["preset"] for row in found["results"]] == ["tiny", "large"]
    assert [row["params"] for row in found["results"]] == ["0.3M", "1.6M"]
    assert all(row["success"] for row in found["results"])
    profile = found["results"][1]["optimal_config"]
    assert profile["optimal_batch_size"] == 1
    assert [row["outcome"] for row in profile["all_results"]] == ["ok", "skipped"]
    # A worker looks at each before the first trial.
    assert len(done.events("benchmark_complete")) == 2
    assert not done.has_profile


def test_the_answer_of_a_fast_search_follows_its_own_trials(pytester: pytest.Pytester) -> None:
    done = run(pytester, "--yourai-search", "fast", "--yourai-max-memory", "0.1")
    assert done.ret == 0, done.text + done.errors
    done.stdout.fnmatch_lines(
        [
            "Testing 2 configurations for: tiny *",
            "*argest* configuration that fits: tiny",
            "Search: stopped after 1 trial: *",
            "Testing 2 configurations for: large *",
            "*argest* configuration that fits: large",
            "Recommended: large *",
        ]
    )


def test_a_model_that_is_not_there_ends_it_before_the_first_trial(
    pytester: pytest.Pytester,
) -> None:
    done = run(pytester, "--yourai-model", "owner/absent")
    assert done.ret == pytest.ExitCode.USAGE_ERROR
    assert "owner/absent is neither a preset nor a folder" in done.errors
    mistaken = run(pytester, "--yourai-lora-keys", "self_attn.nothing")
    assert mistaken.ret == pytest.ExitCode.USAGE_ERROR
    assert mistaken.events("trial_start") == []


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (("--yourai-optimize",), "--yourai-optimize needs --yourai-benchmark"),
        (("--yourai-benchmark",), "--quick and --yourai-matrix are for sweeps"),
        (("--yourai-replay", "m.yaml"), "a recording is of one model"),
    ],
)
def test_flags_that_contradict_each_other(
    pytester: pytest.Pytester, arguments: tuple[str, ...], part: str
) -> None:
    done = run(pytester, *arguments)
    assert done.ret == pytest.ExitCode.USAGE_ERROR
    assert part in done.errors


def test_a_model_that_is_named_twice(pytester: pytest.Pytester) -> None:
    done = run(pytester, "--yourai-model", "./large")
    assert done.ret == pytest.ExitCode.USAGE_ERROR
    assert "is named twice: name it once" in done.errors


def test_ini_keys_of_sweeps_do_not_stand_in_the_way_of_a_walk(pytester: pytest.Pytester) -> None:
    pytester.makeini("[pytest]\nyourai_quick = true\nyourai_optimize = true\n")
    for flags in (("--yourai-model=tiny",), ("--yourai-benchmark", "--yourai-model=tiny")):
        done = pytester.runpytest_inprocess(*flags, "--collect-only", "-q")
        assert done.ret == 0


def test_what_was_kept_prunes_larger_models_too(pytester: pytest.Pytester) -> None:
    flags = ("--yourai-max-memory", "0.011", "--yourai-force", "-v")
    run(pytester, *flags, "-k", "tiny")
    done = run(pytester, *flags, "--yourai-resume")
    profile = done.benchmark["results"][1]["optimal_config"]
    assert [row["outcome"] for row in profile["all_results"]] == ["ok", "skipped"]


def test_the_ini_file_may_name_several(pytester: pytest.Pytester) -> None:
    pytester.makeini("[pytest]\nyourai_model =\n  tiny\n  llama-8b\n")
    pytester.makepyfile("def test_own(trial): pass")
    done = pytester.runpytest_inprocess("--collect-only", "-q", "-k", "batch1-rank32-layers8")
    done.stdout.fnmatch_lines(["*test_own[[]llama-8b-batch1-rank32-layers8]"])
    done = pytester.runpytest_inprocess("--collect-only", "-q", "-k", "tiny-batch1-rank32")
    done.stdout.fnmatch_lines(["*test_own[[]tiny-batch1-rank32-layers4]"])

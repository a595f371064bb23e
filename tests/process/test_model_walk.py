"""The walk over models: smallest first, each with its own verdict, until one does not fit."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from pytest_yourai.sweep import preflight

from support.hub import cached
from support.models import GROWING, SMALL_MISTRAL, SMALL_QWEN2, TINY, convert_model, make_model
from support.processes import SweepResult, run_pytest, worker_processes

pytestmark = pytest.mark.xdist_group("walk")  # The models are made once.

WalkRun = Callable[..., SweepResult]

LARGE = {**SMALL_QWEN2, "hidden_size": 192, "tie_word_embeddings": False}

MODELS = """
larger: {path: larger, params: 3M, defaults: {quantize: none}}
large: {path: large, params: 2M, defaults: {quantize: none}}
absent: {path: nowhere, params: 1M}
tied-qwen2: {path: tied, params: 1.6M}
converted: {path: converted, params: 0.6M}
cached-mistral: {repo: owner/mistral, params: 0.4M}
sharded-llama: {path: sharded, params: 0.3M}
gone: {path: nowhere, params: 4M}
not-walked: {path: nowhere, walk: false}
"""


@pytest.fixture
def walk(pytester: pytest.Pytester) -> WalkRun:
    def run(
        *arguments: str, subprocess: bool = False, plugins: tuple[object, ...] = ()
    ) -> SweepResult:
        command = ["--yourai-benchmark", "--yourai-seq-length", "32", "--yourai-steps", "2"]
        if "--yourai-model" not in arguments:
            command += ["--yourai-models", "models.yaml"]
        if subprocess:
            return SweepResult(run_pytest(pytester.path, *command, *arguments), pytester.path)
        how = {"plugins": plugins, "no_reraise_ctrlc": True}
        done = pytester.runpytest_inprocess(*command, *arguments, **how)
        return SweepResult(done, pytester.path)

    return run


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folders of the models, which MLX makes once."""
    folder = tmp_path_factory.mktemp("models")
    make_model(folder / "sharded", TINY, shard_bytes=400_000)
    make_model(folder / "mistral", SMALL_MISTRAL)
    convert_model(folder / "mistral", folder / "converted", bits=4)
    make_model(folder / "tied", SMALL_QWEN2)
    for name in ("large", "larger"):
        (folder / name).mkdir()
        (folder / name / "config.json").write_text(json.dumps(LARGE))
    return folder


@pytest.fixture
def models(pytester: pytest.Pytester, made: Path, hub_cache: Path) -> Path:
    """models.yaml: of every kind one, not in their order, of which those from 2M on are large."""
    folder = pytester.path
    shutil.copytree(made, folder, dirs_exist_ok=True)
    cached(folder / "mistral", "owner/mistral", hub_cache)
    path = folder / "models.yaml"
    path.write_text(MODELS)
    return path


def test_every_model_gets_its_verdict_and_the_first_that_does_not_fit_ends_it(
    walk: WalkRun, models: Path
) -> None:
    done = walk("--yourai-max-memory", "0.024")
    assert done.ret == 0, done.text + done.errors
    done.run.assert_outcomes(passed=4, xfailed=1, skipped=3)
    done.stdout.fnmatch_lines(
        [
            "Trying 8 models, smallest first, until one does not fit",
            "Budget: 24.0 MB (as given)",
            "Pre-flight sharded-llama: * GB available, * MB required (weights 1.1 MB), * MB *",
            "[[]1/8] sharded-llama   (0.3M) ... ✓ Pass (*MB), local, not quantized",
            "[[]2/8] cached-mistral  (0.4M) ... ✓ Pass (*MB), local, not quantized",
            "[[]3/8] converted       (0.6M) ... ✓ Pass (*MB), local 4-bit",
            "[[]4/8] absent          (  1M) ... - unavailable: absent: there is no folder *",
            "[[]5/8] tied-qwen2      (1.6M) ... ✓ Pass (*MB), local, not quantized",
            "[[]6/8] large           (  2M) ... ✗ over budget: needs *, with the margin *",
            "[[]7/8] larger          (  3M) ... - skipped: no smaller than large, which failed *",
            "[[]8/8] gone            (  4M) ... - unavailable: gone: there is no folder *",
            "Recommended: tied-qwen2 (largest model that fits)",
            "Alternatives: converted, cached-mistral, sharded-llama",
            "Saved to: benchmark_results.json",
        ]
    )
    results = done.benchmark
    assert results["max_memory_gb"] == 0.024
    assert results["recommended"] == "tied-qwen2"
    assert results["complete"] is True
    rows = {row["preset"]: row for row in results["results"]}
    assert [row["outcome"] for row in rows.values()] == [
        "ok", "ok", "ok", "unavailable", "ok", "over_budget", "skipped", "unavailable",
    ]  # fmt: skip
    passed = rows["cached-mistral"]
    assert passed["model_name"] == "mistral"
    assert passed["params"] == "0.4M"
    assert passed["success"] is True
    assert passed["error"] is None
    assert passed["optimal_config"] is None
    assert 0 < passed["minimum_memory_gb"] < passed["peak_memory_gb"] < 0.024
    assert passed["safe_config"]["lora_rank"] == 64
    assert rows["large"]["success"] is False
    assert rows["large"]["error"].startswith("over_budget: needs ")
    # Each model has had a worker of its own, and none is left.
    assert len(done.events("subprocess_spawned")) == 5
    assert worker_processes() == []


@pytest.mark.nightly
@pytest.mark.real_engine
def test_verdicts_are_those_of_what_mlx_measures(walk: WalkRun, models: Path) -> None:
    done = walk("--yourai-max-memory", "0.024", "-k", "sharded or converted or large")
    assert done.ret == 0, done.text + done.errors
    done.run.assert_outcomes(passed=2, xfailed=1, skipped=1)
    done.stdout.fnmatch_lines(
        [
            "[[]1/4] sharded-llama   (0.3M) ... ✓ Pass (*MB), local, not quantized",
            "[[]2/4] converted       (0.6M) ... ✓ Pass (*MB), local 4-bit",
            "[[]3/4] large           (  2M) ... ✗ over budget: needs *, with the margin *",
            "[[]4/4] larger          (  3M) ... - skipped: no smaller than large, which failed *",
            "Recommended: converted (largest model that fits)",
        ]
    )
    passed = done.benchmark["results"][1]
    assert 0 < passed["minimum_memory_gb"] < passed["peak_memory_gb"] < 0.024
    assert len(done.events("subprocess_spawned")) == 3
    assert worker_processes() == []


def test_models_that_pass_are_swept_and_show_their_optimum_under_their_line(
    walk: WalkRun, models: Path, pytester: pytest.Pytester
) -> None:
    (pytester.path / "m.yaml").write_text("batch_size: [1, 2]\nlora_rank: [4]\nlora_layers: [2]\n")
    flags = ("--yourai-optimize", "--yourai-matrix", "m.yaml", "--yourai-max-memory", "0.024")
    done = walk(*flags, "-k", "sharded-llama or large", "--yourai-output", "found.json")
    assert done.ret == 0, done.text + done.errors
    done.stdout.fnmatch_lines(
        [
            "[[]1/3] sharded-llama   (0.3M) ... ✓ Pass *",
            "      [[]1/2] batch=1, rank=4, layers=2 ... ✓ *",
            "      [[]2/2] batch=2, rank=4, layers=2 ... ✓ *",
            "      *argest*: batch=2, rank=4, layers=2: score 16, * tokens/s, needs * MB",
            "[[]2/3] large           (  2M) ... ✗ over budget: *",
            "[[]3/3] larger          (  3M) ... - skipped: *",
            "Recommended: sharded-llama (largest model that fits)",
            "Saved to: found.json",
        ]
    )
    assert "Alternatives" not in done.text
    results = json.loads((pytester.path / "found.json").read_text())
    first, second, _ = results["results"]
    assert first["optimal_config"]["optimal_batch_size"] == 2
    assert len(first["optimal_config"]["all_results"]) == 2
    assert first["optimal_config"]["settings"]["measured_steps"] == 2
    assert second["optimal_config"] is None
    # Two sweeps of two were not begun.
    done.run.assert_outcomes(passed=3, xfailed=1, skipped=5)


def test_what_fails_otherwise_does_not_stop_larger_models(
    walk: WalkRun, models: Path, faulty_worker: Callable[[str], None]
) -> None:
    faulty_worker("refuse@inspect")
    done = walk("-k", "sharded or tied")
    assert done.ret == 1
    done.run.assert_outcomes(passed=1, failed=1)
    assert [row["outcome"] for row in done.benchmark["results"]] == ["error", "ok"]
    assert done.benchmark["recommended"] == "tied-qwen2"
    done.stdout.fnmatch_lines(
        [
            "Trying 2 models, smallest first, until one does not fit",
            "[[]1/2] sharded-llama * ✗ error: *this model is refused*",
            "Budget: *",
            "[[]2/2] tied-qwen2 * ✓ Pass *",
        ]
    )
    assert len(done.events("model_not_run")) == 1


def test_weights_that_are_alone_too_large_are_not_loaded(walk: WalkRun, models: Path) -> None:
    done = walk("-k", "large", "--yourai-max-memory", "0.008")
    assert done.ret == 1
    assert [row["outcome"] for row in done.benchmark["results"]] == ["over_budget", "skipped"]
    assert "its weights alone take " in done.benchmark["results"][0]["error"]
    assert done.events("model_loaded") == []
    assert done.benchmark["recommended"] is None
    done.stdout.fnmatch_lines(["Recommended: none of these models was seen to fit"])


def test_under_2_gb_available_no_model_is_loaded(
    walk: WalkRun, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preflight, "LEAST_AVAILABLE_BYTES", 1 << 60)
    # Each waits for memory for a quarter of its limit.
    done = walk("-k", "sharded or tied", "--yourai-timeout=8")
    assert done.ret == 1
    # What others hold does not depend on the model: each is checked.
    assert [row["outcome"] for row in done.benchmark["results"]] == ["safety_stop"] * 2
    assert "GB of memory was available, under the floor" in done.benchmark["results"][0]["error"]
    assert done.events("model_loaded") == []


class _Interrupted:
    def pytest_runtest_setup(self) -> None:
        raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("selected", "line"),
    [
        ("sharded", "Pre-flight sharded-llama: *"),
        (
            "sharded and batch1",
            "[[]1/1] sharded-llama * ... swept without a check, local, *",
        ),
    ],
)
def test_ctrl_c_in_the_first_trial_leaves_results_and_no_verdict(
    walk: WalkRun, models: Path, pytester: pytest.Pytester, selected: str, line: str
) -> None:
    (pytester.path / "m.yaml").write_text("batch_size: [1]\nlora_rank: [4]\nlora_layers: [2]\n")
    flags = ("--yourai-optimize", "--yourai-matrix", "m.yaml", "-k", selected)
    done = walk(*flags, plugins=(_Interrupted(),))
    assert done.ret == pytest.ExitCode.INTERRUPTED, done.text + done.errors
    assert (done.benchmark["complete"], done.benchmark["results"]) == (False, [])
    done.stdout.fnmatch_lines(
        [
            "Trying 1 model, smallest first, until one does not fit",
            line,
            "Incomplete: not all models and configurations were tried",
            "Saved to: benchmark_results.json",
        ]
    )
    assert "Recommended" not in done.text


@pytest.mark.parametrize("xdist", [False, pytest.param(True, marks=pytest.mark.nightly)])
def test_it_is_resumed_also_from_a_run_under_xdist(
    walk: WalkRun, models: Path, xdist: bool
) -> None:
    flags = ("--yourai-max-memory", "0.024", "-k", "sharded or large")
    done = walk(*flags, *(["-n", "1"] if xdist else []), subprocess=xdist)
    assert done.ret == 0, done.text + done.errors
    done.stdout.fnmatch_lines(
        [
            "Budget: 24.0 MB (as given)",
            "Pre-flight sharded-llama: *",
            "[[]1/3] sharded-llama *✓ Pass *",
            "[[]2/3] large *✗ over budget: *",
            "[[]3/3] larger *- skipped: *",
            "Recommended: sharded-llama *",
        ]
    )
    first = done.benchmark
    assert first["recommended"] == "sharded-llama"
    started = len(done.events("trial_start"))

    again = walk(*flags, "--yourai-resume")
    assert again.ret == 0
    assert "Note: 1 result is kept from benchmark_log.jsonl" in again.text
    again.stdout.fnmatch_lines(["[[]1/3] sharded-llama * ✓ Pass * (kept)"])
    assert [row["outcome"] for row in again.benchmark["results"]] == [
        row["outcome"] for row in first["results"]
    ]
    assert len(again.events("trial_start")) == started


def test_named_models_are_walked_in_their_stead_and_must_be_there(
    walk: WalkRun, pytester: pytest.Pytester
) -> None:
    for number, architecture in enumerate(GROWING[:2]):
        make_model(pytester.path / str(number) / "mine", architecture)
    done = walk("--yourai-model", "1/mine", "--yourai-model", "0/mine", "--yourai-model", "tiny")
    assert done.ret == 0, done.text + done.errors
    found = [(row["preset"], row["params"]) for row in done.benchmark["results"]]
    assert found == [("0/mine", "0.3M"), ("tiny", "0.3M"), ("1/mine", "0.4M")]
    done.stdout.fnmatch_lines(["[[]1/3] mine-2 *", "Recommended: mine *"])
    absent = walk("--yourai-model", "2/mine")
    assert absent.ret == pytest.ExitCode.USAGE_ERROR


def test_a_worker_that_dies_over_a_model_is_that_models_crash(
    walk: WalkRun, models: Path, faulty_worker: Callable[[str], None]
) -> None:
    faulty_worker("SIGKILL@inspect")
    done = walk("-k", "sharded or converted")
    assert done.ret == 1
    assert [row["outcome"] for row in done.benchmark["results"]] == ["crashed", "ok"]
    assert "ended with status -9" in done.benchmark["results"][0]["error"]


@pytest.mark.real_engine
def test_where_nothing_can_run_it_is_one_sentence(
    walk: WalkRun, models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "shadow" / "mlx"
    package.mkdir(parents=True)
    (package.parent / "mlx-9.dist-info").mkdir()
    (package / "__init__.py").write_text("")
    (package / "core.py").write_text("raise ImportError('libmlx.so: cannot open')")
    usual = os.environ.get("PYTHONPATH")
    monkeypatch.setenv("PYTHONPATH", f"{package.parent}{os.pathsep}{usual}")
    for flags in (("-k", "absent or tied"), ("--yourai-max-memory", "1000")):
        done = walk(*flags)
        assert done.ret == pytest.ExitCode.USAGE_ERROR
        assert "MLX cannot run here" in done.errors
        assert "INTERNALERROR" not in done.text
    monkeypatch.undo()


def test_a_budget_that_no_machine_has_is_a_mistake_and_no_models_outcome(
    walk: WalkRun, models: Path
) -> None:
    done = walk("--yourai-max-memory", "1000")
    assert done.ret == pytest.ExitCode.USAGE_ERROR
    assert "--yourai-max-memory: 1000 GB is more than" in done.errors


def test_models_of_one_name_keep_their_results_apart(walk: WalkRun, models: Path) -> None:
    models.write_text(
        '"a b": {path: nowhere, params: 0.1M}\n"a-b": {path: sharded, params: 0.3M}\n'
    )
    done = walk()
    assert done.ret == 0
    found = [(row["preset"], row["outcome"]) for row in done.benchmark["results"]]
    assert found == [("a b", "unavailable"), ("a-b", "ok")]
    assert done.benchmark["recommended"] == "a-b"
    done.stdout.fnmatch_lines(["Recommended: a-b-2 *"])
    models.write_text("a: {path: sharded}\na-seq32: {path: tied, defaults: {max_seq_length: 32}}\n")
    doubled = walk()
    assert doubled.ret == pytest.ExitCode.USAGE_ERROR
    assert "two models have an item of the same name, a-seq32" in doubled.errors


REVERSED = """
import pytest

@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items):
    items.reverse()
"""


def test_in_whatever_order_the_largest_is_recommended_and_each_tried_once(
    walk: WalkRun, models: Path, pytester: pytest.Pytester
) -> None:
    pytester.makeconftest(REVERSED)
    for name in ("one", "two"):
        pytester.makepyfile(**{f"test_{name}": "def test_own(trial): assert trial.success"})
    done = walk("test_one.py", "test_two.py", "-k", "sharded or tied")
    assert done.ret == 0, done.text + done.errors
    done.run.assert_outcomes(passed=4)
    assert [row["preset"] for row in done.benchmark["results"]] == ["sharded-llama", "tied-qwen2"]
    assert done.benchmark["recommended"] == "tied-qwen2"
    assert len(done.events("trial_start")) == 2


def test_lighter_weights_are_tried_after_a_failure_and_again_when_resumed(
    walk: WalkRun, models: Path
) -> None:
    models.write_text(
        "heavy: {path: large, params: 2M, defaults: {quantize: none}}\n"
        "light: {path: sharded, params: 3M}\n"
    )
    flags = ("--yourai-max-memory", "0.012")
    for again in ((), ("--yourai-resume",)):
        done = walk(*flags, *again)
        outcomes = {row["preset"]: row["outcome"] for row in done.benchmark["results"]}
        assert outcomes == {"heavy": "over_budget", "light": "ok"}
        assert done.benchmark["recommended"] == "light"


def test_what_is_broken_in_one_model_stops_no_other(walk: WalkRun, models: Path) -> None:
    models.write_text(
        "broken: {path: larger, params: 0.1M}\n"
        "bare: {params: 0.2M}\n"
        "unread: {params: 0.25M, path: sharded, architecture: nowhere.json}\n"
        "sharded: {path: sharded, params: 0.3M}\n"
        "converted: {path: converted, params: 0.6M}\n"
    )
    (models.parent / "larger" / "config.json").write_text("{")
    done = walk("--yourai-quantize", "8")
    assert done.ret == 1
    outcomes = [row["outcome"] for row in done.benchmark["results"]]
    assert outcomes == ["error", "error", "error", "ok", "error"]
    assert "models.yaml:3: unread.architecture: " in done.benchmark["results"][2]["error"]
    assert "quantized already (4-bit)" in done.benchmark["results"][4]["error"]
    models.write_text("left-out: {path: sharded, walk: false}\n")
    nothing = walk()
    assert nothing.ret == pytest.ExitCode.USAGE_ERROR
    assert "has no model to walk" in nothing.errors

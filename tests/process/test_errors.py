"""Mistakes end in one sentence that says what to do, exit status 4, and no traceback."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from support.models import make_model
from support.processes import SweepResult, SweepRun, worker_processes


def assert_usage_error(done: SweepResult, *parts: str) -> None:
    assert done.ret == pytest.ExitCode.USAGE_ERROR
    said = [line for line in done.errors.splitlines() if line.startswith("ERROR: ")]
    assert len(said) == 1
    for part in parts:
        assert part in said[0]
    assert "Traceback" not in done.errors + done.text
    assert worker_processes() == []


@pytest.mark.parametrize(
    ("flags", "parts"),
    [
        (("--yourai-matrix", "absent.yaml"), ["absent.yaml does not exist"]),
        (("--yourai-steps", "0"), ["--yourai-steps: '0' is not valid", "at least 1"]),
        (("--yourai-steps", "many"), ["--yourai-steps", "whole number"]),
        (("--yourai-warmup", "1"), ["--yourai-warmup", "at least 2"]),
        (("--yourai-max-memory", "-3"), ["--yourai-max-memory", "above 0"]),
        (("--yourai-max-memory", "1e-9"), ["--yourai-max-memory", "at least 0.001"]),
        (("--yourai-max-memory", "nan"), ["--yourai-max-memory", "above 0"]),
        (("--yourai-seq-length", "1"), ["--yourai-seq-length", "at least 2"]),
        (("--yourai-seq-length", "64,"), ["--yourai-seq-length: '64,'", "between commas"]),
        (("--yourai-quantize", "7"), ["--yourai-quantize", "2, 3, 4, 5, 6, 8"]),
        (("--yourai-weights", "cloud"), ["--yourai-weights", "auto, local, hub, synthetic"]),
        (("--yourai-isolation", "none"), ["--yourai-isolation", "model, trial"]),
        (("--yourai-objective", "speed"), ["--yourai-objective", "score, tokens_per_second"]),
        (("--yourai-timeout", "0"), ["--yourai-timeout", "above 0"]),
        (("--yourai-lora-keys", ","), ["--yourai-lora-keys", "self_attn.q_proj"]),
        (("--yourai-data", "./absent"), ["--yourai-data", "no such folder"]),
        (("--yourai-data", "x" * 300), ["--yourai-data", "it is too long for a path"]),
        (("--yourai-output", "absent/p.json"), ["--yourai-output", "cannot be written"]),
        (("--yourai-output", "/"), ["--yourai-output", "is not a regular file"]),
        (("--yourai-output", "a", "--yourai-log", "a"), ["are one file: name two"]),
        (("--yourai-max-memory", "1e300"), ["--yourai-max-memory", "up to 1,000,000"]),
        (("--yourai-steps", "3", "--yourai-steps", "4"), ["--yourai-steps", "give it once"]),
        (("--yourai-log", "absent/l.jsonl"), ["--yourai-log", "cannot be written"]),
        (("--quick",), ["--quick and --yourai-matrix both name a matrix"]),
        (("--yourai-data", "."), ["--yourai-data", "no train.jsonl"]),
        (("--yourai-data", "someone/rows"), ["--yourai-data: tiny has no tokenizer"]),
        (("--yourai-weights", "local"), ["tiny is an architecture without weights"]),
    ],
)
def test_flags(sweep: SweepRun, flags: tuple[str, ...], parts: list[str]) -> None:
    matrix = None if flags[0] == "--yourai-matrix" else "small.yaml"
    assert_usage_error(sweep(*flags, matrix=matrix), *parts)


def test_ini_keys_are_named_with_their_file(pytester: pytest.Pytester, sweep: SweepRun) -> None:
    pytester.makeini("[pytest]\nyourai_timeout = never\n")
    assert_usage_error(sweep(), "tox.ini: yourai_timeout: 'never' is not valid")


def test_an_unknown_preset_gets_the_nearest_names(sweep: SweepRun) -> None:
    assert_usage_error(sweep(model="lama-8b"), "lama-8b", "did you mean", "llama-8b")


def test_a_folder_that_is_not_a_model(pytester: pytest.Pytester, sweep: SweepRun) -> None:
    pytester.mkdir("empty")
    assert_usage_error(sweep(model="empty"), "is not a model: it has no config.json")


@pytest.mark.real_engine
def test_data_that_mlx_lm_cannot_read(pytester: pytest.Pytester, sweep: SweepRun) -> None:
    model = make_model(pytester.path / "model")
    pytester.mkdir("data").joinpath("train.jsonl").write_text("")
    assert_usage_error(
        sweep("--yourai-data", "data", model=str(model)),
        "--yourai-data: ",
        "its train.jsonl is empty",
    )


@pytest.mark.real_engine
def test_weights_that_cannot_be_loaded_are_found_before_the_first_trial(
    pytester: pytest.Pytester, sweep: SweepRun
) -> None:
    model = make_model(pytester.path / "model")
    (model / "model.safetensors").write_bytes(b"not safetensors")
    assert_usage_error(sweep(model=str(model)), "cannot be loaded as mlx-lm does")


@pytest.mark.real_engine
def test_lora_keys_that_match_nothing_get_the_path_that_was_meant(sweep: SweepRun) -> None:
    assert_usage_error(
        sweep("--yourai-lora-keys", "q_proj"),
        "--yourai-lora-keys: q_proj matches no module of tiny: did you mean self_attn.q_proj?",
    )


def test_a_matrix_that_is_none(pytester: pytest.Pytester, sweep: SweepRun) -> None:
    path = pytester.path / "bad.yaml"
    path.write_text("batch_size: [1]\nlora_rank: [-4]\nlora_layers: [2]\n")
    assert_usage_error(sweep(matrix="bad.yaml"), "bad.yaml:2: lora_rank.0: ")


@pytest.mark.real_engine
def test_mlx_without_a_backend_is_one_sentence(
    pytester: pytest.Pytester, sweep: SweepRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What the interpreter of the worker finds first fails as mlx does on Linux without an extra.
    package = pytester.mkdir("shadow") / "mlx"
    package.mkdir()
    (package.parent / "mlx-9.dist-info").mkdir()
    (package / "__init__.py").write_text("")
    (package / "core.py").write_text(
        "raise ImportError('libmlx.so: cannot open shared object file: No such file or directory')"
    )
    monkeypatch.setenv("PYTHONPATH", f"{package.parent}{os.pathsep}{os.environ.get('PYTHONPATH')}")
    assert_usage_error(
        sweep(), "MLX cannot run here", "libmlx.so", "pip install 'pytest-yourai[cpu]'"
    )


def test_a_second_sweep_in_the_folder_is_refused(
    pytester: pytest.Pytester, sweep: SweepRun
) -> None:
    from pytest_yourai.store.journal import Journal  # noqa: PLC0415

    first = Journal(Path(pytester.path) / "benchmark_log.jsonl")
    first.write("benchmark_start", pid=os.getpid())
    try:
        assert_usage_error(sweep(), f"in use by another sweep (process {os.getpid()})")
    finally:
        first.close()


@pytest.mark.parametrize("flag", ["--yourai-quick", "--yourai-steps=3"])
def test_our_flags_without_a_model(pytester: pytest.Pytester, flag: str) -> None:
    done = SweepResult(pytester.runpytest_inprocess(flag), pytester.path)
    assert_usage_error(done, f"{flag.partition('=')[0]} needs a model: add --yourai-model=NAME")

"""Training data of the user's own: what is measured, shown and written."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from support.models import make_model, text_of, write_rows
from support.processes import SweepResult, SweepRun

pytestmark = pytest.mark.real_engine


@pytest.mark.parametrize(
    "xdist",
    [
        False,
        # Where the process that prints is not the one that measures.
        pytest.param(True, marks=pytest.mark.nightly),
    ],
)
def test_rows_are_measured_at_their_lengths_and_an_epoch_is_timed(
    pytester: pytest.Pytester, sweep: SweepRun, xdist: bool
) -> None:
    model = make_model(pytester.path / "model")
    rows = [{"text": text_of(tokens)} for tokens in (10, 40, 20, 50, 70, 12)]
    write_rows(pytester.path / "data", rows)
    (pytester.path / "two.yaml").write_text(
        "batch_size: [2, 7]\nlora_rank: [4]\nlora_layers: [2]\n"
    )
    flags = ["--yourai-data=data", "--yourai-seq-length=66", *(["-n", "1"] if xdist else [])]
    done = sweep(*flags, model=str(model), matrix="two.yaml", subprocess=xdist)
    assert done.ret == 0
    done.stdout.fnmatch_lines(
        [
            "Training data: 6 rows, 202 tokens; a row has 10 to 70, median 30",
            "  over 66 * 1",
            "  1 row of over 66 tokens is cut",
            "  Padding: * 49.0 % of an epoch; 2 padded shapes, each compiles once",
            "  Epoch: * about 1 s, 3 steps",
        ]
    )
    row, larger = done.rows
    assert larger["outcome"] == "skipped"
    remedy = "add rows, or use a smaller batch_size"
    assert larger["error"] == f"not valid for this data, which has fewer rows than 7; {remedy}"
    # The four longest rows, the longest cut; in the file they are not side by side.
    assert row["step_tokens"] == [65 + 50, 40 + 20]
    data = done.profile["data"]
    assert (data["rows"], data["longest"], data["epochs"][0]["rows_cut"]) == (6, 70, 1)
    assert data["optimal_epoch_time_s"] == row["epoch_time_s"] > 0
    assert done.events("trial_complete")[0]["epoch_time_s"] == row["epoch_time_s"]
    assert row["predicted_minimum_memory_bytes"] == pytest.approx(
        row["minimum_memory_bytes"], rel=0.2
    )


def test_an_estimate_takes_the_lengths_of_the_rows(pytester: pytest.Pytester) -> None:
    model = make_model(pytester.path / "model")
    rows = [{"text": text_of(tokens)} for tokens in (*[20] * 9, 300)]
    write_rows(pytester.path / "data", rows)
    flags = ("--yourai-data=data", "--yourai-seq-length=512", "--yourai-max-memory=1")
    done = pytester.runpytest_inprocess("--yourai-recommend", f"--yourai-model={model}", *flags)
    assert done.ret == 0
    done.stdout.fnmatch_lines(
        [
            "Training data: 10 rows, 480 tokens; a row has 20 to 300, median 20",
            "Or with shorter rows, 256: 10 % of rows cut (9.2 % of tokens), needs * by estimate",
            "    pytest --yourai-model=* --yourai-seq-length=256",
        ]
    )


def test_in_a_walk_the_data_is_shown_for_each_model_and_its_mistakes_end_it(
    pytester: pytest.Pytester,
) -> None:
    for name in ("untokenized", "mine"):
        make_model(pytester.path / name)
    (pytester.path / "untokenized" / "tokenizer.json").write_text("{")
    (pytester.path / "models.yaml").write_text(
        "untokenized: {path: untokenized, params: 0.1M}\nmine: {path: mine}\n"
    )
    data = write_rows(pytester.path / "data", [{"text": text_of(40)}])
    flags = ("--yourai-models=models.yaml", "--yourai-data=data", "--yourai-steps=2")

    def walk() -> SweepResult:
        done = pytester.runpytest_inprocess("--yourai-benchmark", *flags)
        return SweepResult(done, pytester.path)

    done = walk()
    done.stdout.fnmatch_lines(
        [
            "[[]1/2] untokenized * ✗ error: --yourai-data: the tokenizer in * cannot be loaded *",
            # One row, and so a batch of one.
            "Pre-flight mine: * for batch=1, rank=64, layers=4",
            "      Training data: 1 row, 40 tokens; *",
            "[[]2/2] mine * ✓ Pass *",
            "        Padding: * 37.5 % of an epoch; 1 padded shape, *",
            "        Epoch: * 1 step",
            "Recommended: mine *",
        ]
    )
    first, second = done.benchmark["results"]
    assert first["data"] is None
    assert second["data"]["longest"] == 40
    [epoch] = second["data"]["epochs"]
    assert (epoch["batch_size"], epoch["max_seq_length"], epoch["rows_cut"]) == (1, 512, 0)
    (data / "valid.jsonl").write_text(json.dumps({"text": 3}))
    (pytester.path / "models.yaml").write_text("mine: {path: mine}\n")
    loaded = len(done.events("model_loaded"))
    mistaken = walk()
    assert mistaken.ret == pytest.ExitCode.USAGE_ERROR
    assert "data/valid.jsonl:1: text must be a string, not 3: fix or remove" in mistaken.errors
    assert len(mistaken.events("model_loaded")) == loaded


def test_bad_rows_are_refused_before_the_model_is_loaded_or_left_out(
    pytester: pytest.Pytester, sweep: SweepRun, survived: Callable[[str], None]
) -> None:
    model = make_model(pytester.path / "model")
    data = write_rows(pytester.path / "data", [{"text": text_of(10)}] * 2 + [{"text": ""}])
    (data / "valid.jsonl").write_text("not JSON\n" + json.dumps({"text": "a fox"}) + "\n")
    (pytester.path / "one.yaml").write_text("batch_size: [1]\nlora_rank: [4]\nlora_layers: [2]\n")
    refused = sweep("--yourai-data=data", model=str(model), matrix="one.yaml")
    assert refused.ret == pytest.ExitCode.USAGE_ERROR
    assert "data/valid.jsonl:1: it is not valid JSON" in refused.errors
    assert "leave such rows out with --yourai-bad-rows skip" in refused.errors
    assert refused.events("model_loaded") == []
    done = sweep(
        "--yourai-data=data", "--yourai-bad-rows=skip", model=str(model), matrix="one.yaml"
    )
    assert done.outcomes == ["ok"]
    done.stdout.fnmatch_lines(["*Note: 2 rows are left out of the data; the first, *"])
    assert done.profile["settings"]["bad_rows"] == "skip"
    assert (done.profile["data"]["rows"], done.profile["data"]["rows_left_out"]) == (2, 2)
    [noted] = done.events("data_notes")
    assert noted["rows_left_out"] == 2
    survived("rows that cannot be trained on")

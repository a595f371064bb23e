"""Training data of the user's own: what is measured, said and written of it."""

from __future__ import annotations

import pytest

from made_models import make_model, text_of, write_rows
from sweep_runs import SweepRun


def test_rows_are_measured_at_their_lengths_and_an_epoch_is_timed(
    pytester: pytest.Pytester, sweep: SweepRun
) -> None:
    """Under xdist, where the process that prints is not the one that measures."""
    model = make_model(pytester.path / "model")
    rows = [{"text": text_of(tokens)} for tokens in (10, 40, 20, 50, 70, 12)]
    write_rows(pytester.path / "data", rows)
    (pytester.path / "two.yaml").write_text(
        "batch_size: [2, 7]\nlora_rank: [4]\nlora_layers: [2]\n"
    )
    flags = ("--yourai-data=data", "--yourai-seq-length=66", "-n", "1")
    done = sweep(*flags, model=str(model), matrix="two.yaml", subprocess=True)
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
    assert larger["error"] == "not valid for this data, which has fewer rows than 7"
    # The four longest rows, the longest cut; in the file they are not side by side.
    assert row["step_tokens"] == [65 + 50, 40 + 20]
    data = done.profile["data"]
    assert (data["rows"], data["longest"], data["epochs"][0]["rows_cut"]) == (6, 70, 1)
    assert data["optimal_epoch_time_s"] == row["epoch_time_s"] > 0
    assert done.events("trial_complete")[0]["epoch_time_s"] == row["epoch_time_s"]
    assert row["predicted_minimum_memory_bytes"] == pytest.approx(
        row["minimum_memory_bytes"], rel=0.2
    )

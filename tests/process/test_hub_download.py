"""A model of the hub is downloaded before it is measured, and by nothing else."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.hub import Hub, serve
from support.models import TINY, make_model
from support.processes import SweepResult, SweepRun


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    folder = make_model(tmp_path / "served", shard_bytes=400_000)
    with serve("owner/small-model", folder, monkeypatch) as served:
        yield served


def test_a_repository_is_downloaded_and_measured(
    server: Hub, sweep: SweepRun, pytester: pytest.Pytester, hub_cache: Path
) -> None:
    (pytester.path / "one.yaml").write_text(
        "batch_size: [1]\nlora_rank: [4]\nlora_layers: [2]\nmax_seq_length: 64\n"
    )
    flags = ("--yourai-weights", "hub")
    looked = sweep(*flags, "--collect-only", model="owner/small-model", matrix="one.yaml")
    assert looked.ret == 0
    asked = {each.path.rpartition("/")[2] for each in server.requests if "/resolve/" in each.path}
    assert asked == {"config.json"}

    done = sweep(*flags, model="owner/small-model", matrix="one.yaml", subprocess=True)
    assert done.ret == 0, done.text + done.errors
    assert f"Downloading owner/small-model: 1.1 MB to {hub_cache}" in done.text
    assert "Testing 1 configuration for: small-model (local, not quantized)" in done.text
    assert done.outcomes == ["ok"]


def test_a_model_that_cannot_be_had_is_a_usage_error(server: Hub, sweep: SweepRun) -> None:
    server.gated_status = 403
    done = sweep("--yourai-weights", "hub", model="owner/small-model")
    assert done.ret == pytest.ExitCode.USAGE_ERROR
    said = [line for line in done.errors.splitlines() if line.startswith("ERROR: ")]
    assert len(said) == 1
    assert "the model is gated: accept its licence" in said[0]


def test_in_a_walk_what_cannot_be_had_does_not_stop_larger_models(
    server: Hub, pytester: pytest.Pytester
) -> None:
    (pytester.path / "models.yaml").write_text(
        "small: {repo: owner/no-such-model, params: 0.1M, architecture: config.json}\n"
        "large: {repo: owner/small-model, params: 0.3M}\n"
    )
    (pytester.path / "config.json").write_text(json.dumps(TINY))
    flags = ("--yourai-benchmark", "--yourai-models=models.yaml", "--yourai-weights=hub")
    done = SweepResult(
        pytester.runpytest_inprocess(*flags, "--yourai-seq-length=32"), pytester.path
    )
    assert done.ret == 0, done.text + done.errors
    first, second = done.benchmark["results"]
    assert (first["outcome"], second["outcome"]) == ("unavailable", "ok")
    assert "check its name" in first["error"]
    assert second["weights"] == "local, not quantized"
    done.stdout.fnmatch_lines(["[[]1/2] small * - unavailable: *", "[[]2/2] large * ✓ Pass *"])

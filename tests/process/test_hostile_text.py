"""Names and what workers print: no byte of any output commands a terminal or a CI service."""

from __future__ import annotations

import json
import os
import shlex
import stat
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from pytest_yourai.cli.main import main
from pytest_yourai.cli.parser import USAGE_STATUS

from support import faults
from support.hostile import HOSTILE, dangers_in
from support.models import TINY

MATRIX = "batch_size: [1, 2]\nlora_rank: [4]\nlora_layers: [2]\n"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a model, as in a job of GitHub."""
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("CI", "true")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "summary.md"))
    model = tmp_path / HOSTILE
    model.mkdir()
    (model / "config.json").write_text(json.dumps(TINY))
    (tmp_path / "m.yaml").write_text(MATRIX)
    return tmp_path


@dataclass(frozen=True)
class Printed:
    """What a run of pytest printed, in which nothing is dangerous, and its status."""

    status: int
    out: bytes
    err: bytes


PytestHere = Callable[..., Printed]


@pytest.fixture
def pytest_here(
    folder: Path,
    pytester: pytest.Pytester,
    monkeypatch: pytest.MonkeyPatch,
    capfdbinary: pytest.CaptureFixture[bytes],
) -> PytestHere:
    """Run pytest in this process, and in that folder."""

    def run_pytest(*arguments: str) -> Printed:
        monkeypatch.chdir(folder)
        done = pytester.runpytest_inprocess(*arguments)
        # A RunResult has lines, without what ended them.
        printed = capfdbinary.readouterr()
        assert printed.out + printed.err
        assert dangers_in(printed.out) == []
        assert dangers_in(printed.err) == []
        assert b"Traceback" not in printed.err
        return Printed(int(done.ret), printed.out, printed.err)

    return run_pytest


def run_here(capture: pytest.CaptureFixture[bytes], *words: str) -> int:
    """The status of a `yourai` command whose output has nothing dangerous in it."""
    try:
        status = main(words)
    except SystemExit as ended:
        status = int(ended.code or 0)
    printed = capture.readouterr()
    assert printed.out + printed.err
    assert dangers_in(printed.out, allowed="\n\t\r" if "csv" in words else "\n\t") == []
    assert dangers_in(printed.err) == []
    return status


OUTPUTS = {
    "output": "o.json",
    "log": "l.jsonl",
    "markdown": "m.md",
    "report": "p.html",
    "lora-config": "c.yaml",
}


def test_a_sweep_and_all_that_reads_it(
    folder: Path,
    pytest_here: PytestHere,
    monkeypatch: pytest.MonkeyPatch,
    capfdbinary: pytest.CaptureFixture[bytes],
    record_property: Callable[[str, object], None],
) -> None:
    flags = [f"--yourai-{flag}={HOSTILE}{name}" for flag, name in OUTPUTS.items()]
    flags += [f"--yourai-model=./{HOSTILE}", "--yourai-matrix=m.yaml", "--yourai-steps=2"]
    monkeypatch.setenv("YOURAI_TEST_FAULT", "say_hostile_things@warmup")
    monkeypatch.setenv("YOURAI_TEST_FAULT_DONE", str(folder / "fault-done"))
    done = pytest_here("-rA", "--junit-xml=junit.xml", "--benchmark-json=benchmark.json", *flags)
    assert done.status == 1
    assert b"RuntimeError: evil" in done.out
    assert b"worker stderr" in done.out
    document = json.loads((folder / f"{HOSTILE}o.json").read_text())
    outcomes = [row["outcome"] for row in document["all_results"]]
    journal = (folder / f"{HOSTILE}l.jsonl").read_text().splitlines()
    events = [json.loads(line) for line in journal]
    pids = {each["pid"] for each in events if each["event"] == "subprocess_spawned"}
    fault = "worker prints commands to the terminal"
    right = outcomes == ["ok", "error"]
    faults.report(record_property, faults.Judgement(fault, right, 0, faults.processes_left(pids)))
    names = {"junit.xml", "benchmark.json", "summary.md"}
    names |= {f"{HOSTILE}{name}" for name in ("o.json", "l.jsonl", "m.md")}
    for path in (folder / name for name in names):
        assert dangers_in(path.read_bytes()) == [], path
    # A name with brackets is a pattern to mlx-lm, which is run in that folder.
    recipe = (folder / f"{HOSTILE}c.yaml").read_text()
    assert f"# Run it with: (cd $'{folder}/evil" in recipe
    assert yaml.safe_load(recipe)["model"] == "."
    command = next(line for line in done.out.decode().splitlines() if line.startswith("Next"))
    words = subprocess.run(
        ["bash", "-c", command.partition("yourai train ")[2].join(["printf '%s\\0' ", ""])],
        capture_output=True,
        check=True,
    ).stdout.decode()
    model = f"./{HOSTILE}"
    assert words.split("\0")[:4] == ["--model", model, "--profile", f"{HOSTILE}o.json"]
    assert stat.S_IMODE((folder / f"{HOSTILE}l.jsonl").stat().st_mode) == 0o600
    profile = f"{HOSTILE}o.json"
    monkeypatch.chdir(folder)
    for each in ("table", "md", "csv", "json", "jsonl"):
        assert run_here(capfdbinary, "show", profile, "--format", each) == 0
    assert run_here(capfdbinary, "compare", profile, profile) == 0
    assert run_here(capfdbinary, "report", profile, "-o", f"{HOSTILE}q.html") == 0


def test_estimates(pytest_here: PytestHere) -> None:
    done = pytest_here("--yourai-recommend", f"--yourai-model=./{HOSTILE}")
    assert done.status == 0


def test_a_worker_that_cannot_start(
    folder: Path,
    pytest_here: PytestHere,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (folder / "broken_engine.py").write_text(f"raise RuntimeError({HOSTILE!r})\n")
    monkeypatch.setenv("PYTHONPATH", f"{folder}{os.pathsep}{os.environ['PYTHONPATH']}")
    monkeypatch.setenv("YOURAI_TEST_ENGINE", "broken_engine:Engine")
    done = pytest_here(f"--yourai-model=./{HOSTILE}")
    assert done.status == pytest.ExitCode.USAGE_ERROR
    assert b"the worker process cannot run" in done.err


@pytest.mark.parametrize(
    "words",
    [
        ["optimize", "--model", "tiny", f"--{HOSTILE}"],
        ["show", f"{HOSTILE}x"],
        ["show", HOSTILE, "--format", HOSTILE],
        ["compare", HOSTILE, HOSTILE],
        ["report", HOSTILE, "-o", HOSTILE],
        ["train", "--model", f"./{HOSTILE}", "--data", HOSTILE],
        ["train", "--model", f"{HOSTILE}/x", "--weights", "synthetic"],
        [HOSTILE],
    ],
    ids=range(8),
)
def test_a_mistake_is_one_sentence(
    folder: Path,
    words: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capfdbinary: pytest.CaptureFixture[bytes],
) -> None:
    monkeypatch.chdir(folder)
    assert run_here(capfdbinary, *words) == USAGE_STATUS


def test_a_mistake_in_a_sweep_is_one_sentence(
    pytest_here: PytestHere,
) -> None:
    done = pytest_here(f"--yourai-model={HOSTILE}x", f"--yourai-steps={HOSTILE}")
    assert done.status == pytest.ExitCode.USAGE_ERROR
    assert b"evil" in done.err


def test_training(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    monkeypatch.chdir(folder)
    adapters = f"adapters{HOSTILE}"
    words = shlex.split("--weights synthetic --batch-size 1 --lora-rank 4 --lora-layers 2")
    words += ["--model", f"./{HOSTILE}", "--adapter-path", adapters, "--max-steps", "3"]
    assert run_here(capfdbinary, "train", *words) == 0
    assert len((folder / adapters / "metrics.jsonl").read_text().splitlines()) == 3
    log = folder / adapters / "training_log.jsonl"
    assert stat.S_IMODE(log.stat().st_mode) == 0o600
    assert dangers_in(log.read_bytes()) == []

"""The `yourai` command in processes of its own: what it runs, and how it ends."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
from contextlib import AbstractContextManager
from pathlib import Path

import psutil
import pytest

from support.models import make_model, text_of, write_rows
from support.processes import events, finish, is_gone, started, wait_for, worker_of

ONE = "batch_size: [1]\nlora_rank: [4]\nlora_layers: [2]\n"


def start(folder: Path, *arguments: str) -> AbstractContextManager[subprocess.Popen[str]]:
    return started([sys.executable, "-m", "pytest_yourai", *arguments], folder)


def run(folder: Path, *arguments: str) -> tuple[str, int]:
    """Output and exit status."""
    with start(folder, *arguments) as process:
        return finish(process), process.returncode


def test_help_imports_nothing_heavy() -> None:
    heavy = {"pydantic", "psutil", "yaml", "pytest", "numpy", "rich", "mlx", "safetensors"}
    program = (
        "import atexit, sys; from pytest_yourai.cli.main import main; "
        f"atexit.register(lambda: print('imported:', sorted({heavy!r} & sys.modules.keys()))); "
        "main(['train', '--help'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert done.stdout.endswith("imported: []\n"), done.stderr


def test_sweep_prints_the_pytest_command_and_becomes_it(tmp_path: Path) -> None:
    (tmp_path / "pytest.py").write_text("raise SystemExit('the wrong pytest')\n")
    (tmp_path / "one.yaml").write_text(ONE)
    flags = ("tiny", "--matrix", "one.yaml", "--steps", "2", "--iters", "9", "-v")
    output, status = run(tmp_path, "sweep", *flags)
    lines = output.splitlines()
    assert status == 0, lines
    assert lines[0] == "+ pytest --yourai-model=tiny --yourai-matrix=one.yaml --yourai-steps=2 -v"
    assert "Largest, fastest, leanest configuration that fits" in lines
    [next_line] = [line for line in lines if line.startswith("Next")]
    assert next_line.startswith("Next, as a dry run: yourai train --model tiny --profile optimal")
    assert next_line.endswith(" --iters 9")
    profile = json.loads((tmp_path / "optimal_config.json").read_text())
    assert profile["optimal_batch_size"] == 1


def test_the_exit_status_is_that_of_pytest(tmp_path: Path) -> None:
    output, status = run(tmp_path, "optimize", "--model", "tinny")
    assert "did you mean tiny" in output
    assert status == 4


def test_training_that_cannot_be_ends_before_anything_is_there(tmp_path: Path) -> None:
    (tmp_path / "optimal_config.json").write_text("{}")
    output, status = run(
        tmp_path,
        *("train", "--model", "tiny", "--weights", "synthetic"),
        *("--profile", "optimal_config.json"),
    )
    [line] = output.splitlines()
    assert line.startswith("yourai train: ")
    assert "optimal_config.json: model: it must name the model" in line
    assert status == 2
    assert [path.name for path in tmp_path.iterdir()] == ["optimal_config.json"]


def test_an_interrupted_sweep_before_training_ends_with_all_it_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    adapters = tmp_path / "adapters"
    # Both are for tests of one's own, and would end the sweep.
    monkeypatch.setenv("PYTEST_ADDOPTS", "--no-such-flag-either")
    (tmp_path / "pytest.ini").write_text(
        "[pytest]\naddopts = --no-such-flag\nyourai_timeout = nonsense\n"
    )
    with start(
        tmp_path, "train", "--model", "tiny", "--weights", "synthetic", "--auto-optimize"
    ) as process:
        wait_for(lambda: events(adapters, "trial_complete"))
        worker = worker_of(adapters)
        process.send_signal(signal.SIGINT)
        output = finish(process)
    assert output.startswith("+ pytest --yourai-model=tiny --yourai-weights=synthetic ")
    assert process.returncode == 130, output
    wait_for(lambda: is_gone(worker))
    assert not json.loads((adapters / "optimal_config.json").read_text())["complete"], output


def test_a_sweep_before_training_ends_when_training_is_killed(tmp_path: Path) -> None:
    adapters = tmp_path / "adapters"
    with start(
        tmp_path, "train", "--model", "tiny", "--weights", "synthetic", "--auto-optimize"
    ) as process:
        wait_for(lambda: events(adapters, "trial_complete"))
        swept_by = psutil.Process(process.pid).children()
        worker = worker_of(adapters)
        process.kill()
        wait_for(lambda: all(is_gone(each) for each in (*swept_by, worker)))
        assert len(swept_by) == 1
        finish(process)
    profile = adapters / "optimal_config.json"
    # It has 10 s to write what is known, which are too few on a machine that others load.
    assert not profile.exists() or not json.loads(profile.read_text())["complete"]


@pytest.mark.real_engine
def test_training_goes_on_where_nobody_reads(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    flags = ["--weights", "synthetic", "--max-steps", "1"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest_yourai", "train", "--model", "tiny", *flags],
        cwd=tmp_path,
        stdout=writing,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    os.close(writing)
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "adapters" / "adapters.safetensors").is_file()


@pytest.mark.real_engine
def test_one_command_finds_the_answer_and_the_line_that_it_prints_trains(tmp_path: Path) -> None:
    make_model(tmp_path / "llama3.2-1b")
    roles = ("user", "assistant")
    rows = [
        {"messages": [{"role": role, "content": text_of(5 + size % 9)} for role in roles]}
        for size in range(300)
    ]
    write_rows(tmp_path / "chat", rows)
    command = (
        "yourai sweep ./llama3.2-1b --data chat "
        "--rank 16 --keys all --effective-batch 16 --memory 16"
    )
    assert len(command) <= 100
    for_the_test = ("--batch", "8", "--layers", "2", "--steps", "2", "--iters", "2")
    output, status = run(tmp_path, *shlex.split(command)[1:], *for_the_test)
    assert status == 0, output
    [line] = [each for each in output.splitlines() if each.startswith("Next: ")]
    trained, status = run(tmp_path, *shlex.split(line.removeprefix("Next: "))[1:])
    assert status == 0, trained
    used = {words[0]: words[1] for each in trained.splitlines() if len(words := each.split()) > 2}
    assert int(used["batch_size"]) * int(used["grad_accumulation_steps"]) == 16
    assert (used["lora_rank"], used["lora_keys"], used["max_steps"]) == ("16", "all", "2")
    assert used["data"].endswith("chat")
    assert (tmp_path / "adapters" / "adapters.safetensors").is_file()

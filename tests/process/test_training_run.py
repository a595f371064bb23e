"""Training goes on over reloads, kills and interrupts, with the losses of a run without them."""

from __future__ import annotations

import io
import json
import os
import shlex
import shutil
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlx.core as mx
import pytest

from pytest_yourai.core.errors import CheckpointError, ModelError
from pytest_yourai.store.journal import Journal
from pytest_yourai.training.checkpoint import LOG, read_checkpoint
from pytest_yourai.training.metrics_file import METRICS_NAME
from pytest_yourai.training.settings import TrainSettings
from pytest_yourai.training.train import run_training
from pytest_yourai.worker.checkpoint_file import BEST_FOLDER, CHECKPOINT

from support import faults, worker_faults
from support.engine_training import POISON
from support.models import write_rows
from support.training_runs import Heard, make_input, run, settings

pytestmark = [pytest.mark.real_engine, pytest.mark.xdist_group("training")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_input(tmp_path_factory.mktemp("training"))


@pytest.fixture(scope="module")
def undisturbed(folder: Path) -> dict[int, float]:
    heard = Heard()
    ended = run(settings(folder, "undisturbed"), heard)
    assert (ended.step, ended.problem) == (12, None)
    assert ended.peak_memory_bytes is not None
    assert heard.saved == [5, 10, 12]
    return heard.losses


def finished(folder: Path, adapters: str) -> TrainSettings:
    """Those of the undisturbed run, in a copy of what it left."""
    shutil.copytree(folder / "undisturbed", folder / adapters)
    return settings(folder, adapters)


def test_reloads_and_killed_workers_change_no_loss_and_leave_no_gap(
    folder: Path,
    undisturbed: dict[int, float],
    faulty_worker: Callable[[str], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One worker dies after a step, and a later one while it saves."""
    faulty_worker("SIGKILL@train7")

    def set_next_fault(first_step: int) -> None:
        if first_step == 5:
            monkeypatch.setenv(worker_faults.VARIABLE, "SIGKILL@save10")
            monkeypatch.setenv(worker_faults.DONE_VARIABLE, str(folder / "second-fault-done"))

    heard = Heard(on_begin=set_next_fault)
    asked = settings(folder, "disturbed", reload_interval=4)
    ended = run(asked, heard)
    assert (ended.step, ended.problem) == (12, None)
    assert heard.losses == undisturbed
    assert heard.begun == [0, 4, 5, 8, 10]
    assert heard.said[0] == "Reload after step 4: as asked for"
    assert heard.said[1] == (
        "Reload after a crash: the worker was ended by SIGKILL in step 8; what is saved is that of "
        "step 5"
    )
    events = [json.loads(line) for line in (asked.adapter_path / LOG).read_text().splitlines()]
    assert [each["step"] for each in events if each["event"] == "training_reload"] == [4, 8]
    assert [each["step"] for each in events if each["event"] == "training_crash"] == [7, 10]
    assert (folder / "second-fault-done").exists()
    names = {path.name for path in asked.adapter_path.iterdir()}
    assert {"0000005_adapters.safetensors", "0000010_adapters.safetensors"} <= names
    assert not [name for name in names if name.startswith(".yourai-")]


def test_a_damaged_checkpoint_is_refused_and_the_one_before_it_leads_to_the_same_end(
    folder: Path, undisturbed: dict[int, float], record_property: Callable[[str, object], None]
) -> None:
    asked = finished(folder, "damaged")
    path = asked.adapter_path / CHECKPOINT
    content = bytearray(path.read_bytes())
    content[-100] ^= 1
    path.write_bytes(content)
    with pytest.raises(CheckpointError) as caught:
        read_checkpoint(asked.adapter_path)
    remedy = "; continue with --resume from the one before it, of step 10, after "
    assert "does not match its sha256" in str(caught.value)
    subprocess.run(shlex.split(str(caught.value).partition(remedy)[2]), check=True)
    heard = Heard()
    ended = run(settings(folder, "damaged", first_step=10), heard)
    assert ended.problem is None
    right = heard.losses == {step: undisturbed[step] for step in (11, 12)}
    faults.report(record_property, faults.Judgement("damaged checkpoint", right, 0, 0))


@pytest.mark.usefixtures("undisturbed")
def test_a_checkpoint_that_another_run_replaced_is_not_continued_from(folder: Path) -> None:
    finished(folder, "replaced")
    with pytest.raises(ModelError, match="has a checkpoint of step 12 by now, where step 10 was"):
        run(settings(folder, "replaced", first_step=10, max_steps=20), Heard())


def test_a_second_crash_in_the_same_step_is_the_end(
    folder: Path, faulty_worker: Callable[[str], None]
) -> None:
    faulty_worker("SIGKILL@train7")
    struck = Path(os.environ["YOURAI_TEST_FAULT_DONE"])
    heard = Heard(on_begin=lambda _: struck.unlink(missing_ok=True))
    ended = run(settings(folder, "crashing"), heard)
    assert ended.step == 5
    assert ended.problem == (
        "the worker was ended by SIGKILL in step 8 a second time; what is saved is that of step 5; "
        f"see its last output in {folder / 'crashing' / 'training_log.jsonl'}"
    )
    assert heard.begun == [0, 5]


def test_memory_that_is_lost_is_won_back_by_a_fresh_process_or_ends_it(
    folder: Path, faulty_worker: Callable[[str], None]
) -> None:
    """A leak of 60 MB a step, under a limit of 150 MB of which tiny needs 5."""
    faulty_worker("leak@train")
    heard = Heard()
    asked = settings(folder, "leaking", max_steps=400, memory_limit_bytes=150_000_000)
    ended = run(asked, heard)
    assert ended.problem is not None
    assert "over the budget of 150.0 MB" in ended.problem
    assert heard.saved[-1] == ended.step
    assert any(text.startswith("Reload after step ") for text in heard.said)
    assert heard.said[-1].startswith("A fresh process came to the same point at once")


def test_an_interrupt_saves_and_a_resumed_run_goes_on(
    folder: Path, undisturbed: dict[int, float]
) -> None:
    def interrupt(step: int) -> None:
        if step == 3:
            os.kill(os.getpid(), signal.SIGINT)

    heard = Heard(interrupt)
    ended = run(settings(folder, "interrupted", max_steps=300), heard)
    assert ended.was_interrupted
    assert 3 <= ended.step < 300
    assert heard.saved[-1] == ended.step
    first = min(ended.step, 12)
    assert {step: heard.losses[step] for step in range(1, first + 1)} == {
        step: undisturbed[step] for step in range(1, first + 1)
    }
    more = Heard()
    asked = settings(folder, "interrupted", first_step=ended.step, max_steps=ended.step + 2)
    assert run(asked, more).problem is None
    assert sorted(more.losses) == [ended.step + 1, ended.step + 2]


def test_a_run_skips_a_batch_ends_early_and_keeps_the_best(tmp_path: Path) -> None:
    """One row has a word whose embedding is not a number."""
    make_input(tmp_path)
    weights = tmp_path / "model" / "model.safetensors"
    arrays: Any = mx.load(str(weights))
    arrays["model.embed_tokens.weight"][POISON] = float("nan")
    mx.save_safetensors(str(weights), arrays, {"format": "mlx"})
    rows = [{"text": f"lazy dog {'brown fox ' * number}"} for number in range(7)]
    write_rows(tmp_path / "data", [*rows, {"text": "the quick fox"}])
    write_rows(tmp_path / "data", [{"text": "hills over jumps"}] * 2, "valid")
    asked = settings(
        *(tmp_path, "kept"),
        keep="both",
        patience=2,
        max_skipped_batches=10,
        steps_per_eval=2,
        max_steps=200,
        learning_rate=1e-2,
    )
    stream = io.StringIO()
    journal = Journal(asked.adapter_path / LOG)
    assert run_training(asked, journal, stream) == 0
    journal.close()
    lines = stream.getvalue().splitlines()
    assert [line for line in lines if line.endswith(": its loss was nan (1 of at most 10 to skip)")]
    early = next(line for line in lines if line.startswith("Ended early: 2 validations in a row"))
    best = next(line for line in lines if line.startswith("Best adapters, of step "))
    assert best.endswith(f": {asked.adapter_path / BEST_FOLDER}")
    assert early.rpartition(" ")[2] == best.split()[4]
    metrics = [
        json.loads(line) for line in (asked.adapter_path / METRICS_NAME).read_text().splitlines()
    ]
    losses = {row["step"]: row["val_loss"] for row in metrics if "val_loss" in row and row["step"]}
    assert min(losses, key=lambda step: losses[step]) == int(best.split()[4])
    skipped = [row["step"] for row in metrics if "skipped_loss" in row]
    trained = [row["step"] for row in metrics if "train_loss" in row]
    assert sorted(skipped + trained) == list(range(1, max(losses) + 1))
    events = [json.loads(line) for line in (asked.adapter_path / LOG).read_text().splitlines()]
    assert [row["step"] for row in events if row["event"] == "training_skipped_batch"] == skipped


def test_an_invalid_loss_ends_it_at_once(folder: Path) -> None:
    heard = Heard()
    ended = run(settings(folder, "invalid", learning_rate=1e30), heard)
    assert ended.problem is not None
    assert "the loss was nan in step" in ended.problem
    assert "try a smaller --learning-rate" in ended.problem
    assert not heard.said

"""What a run keeps, skips and ends early for, and that nothing of it depends on interruptions."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlx.core as mx
import pytest
from mlx_lm.tuner.utils import load_adapters

from pytest_yourai.core.config import LoraConfig, Optimizer
from pytest_yourai.worker.checkpoint_file import ADAPTERS, BEST_FOLDER
from pytest_yourai.worker.engine import weights
from pytest_yourai.worker.protocol import (
    InvalidLossError,
    Saved,
    SkippedBatch,
    TrainedStep,
    TrainingEnd,
    TrainingEvent,
    TrainingRequest,
    Validated,
)

from support.engine_training import losses, metadata, request, source, train_with
from support.models import TINY, make_data, make_model, write_rows
from support.training import changed

WORDS = ["quick", "brown", "fox", "jumps", "over", "a", "lazy", "dog"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With a validation loss that rises: its rows are other ones than those that are learned."""
    made = tmp_path_factory.mktemp("ends")
    make_model(made / "model", {**TINY, "num_hidden_layers": 2})
    rows = [{"text": " ".join(WORDS[number:] + WORDS[:number])} for number in range(6)]
    write_rows(made / "data", [*rows, *rows])
    write_rows(made / "data", [{"text": " ".join(WORDS[::-1] * 2)}] * 4, "valid")
    return made


@pytest.fixture(autouse=True)
def usual_memory_limit() -> Iterator[None]:
    usual = mx.set_memory_limit(10**10)
    yield
    mx.set_memory_limit(usual)


SCHEDULED: dict[str, Any] = {
    "config": LoraConfig(
        2, 4, 2, 32, optimizer=Optimizer.ADAMW, dropout=0.1, grad_accumulation_steps=4
    ),
    "lr_schedule": {"name": "cosine_decay", "arguments": [5e-2, 40]},
}
"""Gradients accumulate over four steps, with dropout, and the learning rate falls."""


def of_kind(events: list[TrainingEvent], kind: type[Any]) -> list[Any]:
    return [event for event in events if isinstance(event, kind)]


def final_files(adapters: Path) -> dict[str, bytes]:
    paths = [adapters / ADAPTERS, adapters / BEST_FOLDER / ADAPTERS]
    return {str(path.relative_to(adapters)): path.read_bytes() for path in paths}


def in_turns(
    folder: Path, asked: TrainingRequest, turns: list[int], *, is_poisoned: bool = False
) -> tuple[dict[int, float], TrainingEnd]:
    """Train with accumulation 4, stopped after so many steps of each process; losses by step."""
    found: dict[int, float] = {}
    first_step = 0
    for steps in [*turns, None]:
        events, end = train_with(
            folder,
            changed(asked, **SCHEDULED, first_step=first_step),
            stop_after=steps,
            is_poisoned=is_poisoned,
        )
        for event in of_kind(events, TrainedStep):
            assert found.setdefault(event.step, event.loss) == event.loss
        first_step = end.step
    return found, end


def test_stopped_anywhere_it_comes_to_the_same_end_early(folder: Path, tmp_path: Path) -> None:
    """Accumulated gradients, schedule, dropout, best loss and patience included."""
    ends, kept, curves = [], [], []
    for name, turns in (("one", []), ("several", [3, 6, 9, 1, 4, 2])):
        (tmp_path / name).mkdir()
        asked = request(
            folder,
            tmp_path / name,
            max_steps=200,
            save_every=7,
            steps_per_eval=6,
            patience=3,
            keep="both",
        )
        found, end = in_turns(folder, asked, turns)
        curves.append(found)
        ends.append(end)
        about = metadata(tmp_path / name)
        kept.append((final_files(tmp_path / name), about["best_step"], about["best_loss"]))
        assert about["stale_validations"] == 3
    assert ends[0] == ends[1]
    assert ends[0].reason == "patience"
    assert ends[0].step % 4 == 0
    assert 0 < kept[0][1] < ends[0].step
    assert kept[0] == kept[1]
    assert curves[0] == curves[1]


def test_with_accumulation_all_falls_on_whole_cycles(folder: Path, tmp_path: Path) -> None:
    asked = request(folder, tmp_path, max_steps=14, save_every=3, steps_per_eval=5, keep="both")
    events, end = train_with(folder, changed(asked, **SCHEDULED))
    assert len(losses(events)) == 14
    assert end == TrainingEnd(12, "finished")
    assert [event.step for event in of_kind(events, Validated)] == [0, 8, 12]
    assert {event.step for event in of_kind(events, Saved)} == {4, 8, 12}
    assert (tmp_path / f"0000008_{ADAPTERS}").exists()


@pytest.mark.parametrize("keep", ["best", "last", "both"])
def test_the_best_adapters_are_those_of_the_lowest_validation_loss(
    folder: Path, tmp_path: Path, keep: str
) -> None:
    asked = request(folder, tmp_path, max_steps=30, steps_per_eval=2, keep=keep, save_every=2)
    events, _ = train_with(folder, changed(asked, learning_rate=1e-2))
    found = of_kind(events, Validated)
    assert found[0].best_step is None
    best = min(found[1:], key=lambda each: each.loss)
    assert 0 < best.step < 30
    assert (found[-1].best_step, found[-1].best_loss) == (best.step, best.loss)
    (tmp_path / "until").mkdir()
    until = request(folder, tmp_path / "until", max_steps=best.step, save_every=100)
    train_with(folder, changed(until, learning_rate=1e-2))
    expected = (tmp_path / "until" / ADAPTERS).read_bytes()
    kept = {"best": tmp_path, "both": tmp_path / BEST_FOLDER}.get(keep)
    if kept is not None:
        assert (kept / ADAPTERS).read_bytes() == expected
        load_adapters(weights.load(source(folder)), str(kept))
    assert (tmp_path / BEST_FOLDER).exists() == (keep == "both")
    numbered = tmp_path / f"{best.step:07d}_{ADAPTERS}"
    assert numbered.exists() == (keep != "best")
    assert ((tmp_path / ADAPTERS).read_bytes() == expected) == (keep == "best")


def poisoned(folder: Path) -> Path:
    """Data of which one row has the token that is not a number."""
    rows = [{"text": " ".join(WORDS[number:] + WORDS[:number])} for number in range(7)]
    write_rows(folder, [*rows, {"text": "the lazy dog"}])
    write_rows(folder, [{"text": "a brown fox"}] * 2, "valid")
    return folder


def test_invalid_batches_are_skipped_up_to_a_limit(folder: Path, tmp_path: Path) -> None:
    """One of four batches of an epoch; so many of the run, not of a process."""
    data = str(poisoned(tmp_path / "data"))
    changes: dict[str, Any] = {"data": data, "save_every": 1, "max_steps": 100}
    asked = request(folder, tmp_path, max_skipped_batches=2, reload_interval=6, **changes)
    events, end = train_with(folder, changed(asked, learning_rate=1e-3), is_poisoned=True)
    assert end == TrainingEnd(6, "interval")
    first = of_kind(events, SkippedBatch)
    assert [event.count for event in first] in ([1], [1, 2])
    assert all(str(event.loss) == "nan" for event in first)
    skipped = {event.step for event in first}
    assert {event.step for event in of_kind(events, TrainedStep)} == {*range(1, 7)} - skipped
    assert metadata(tmp_path)["skipped_batches"] == len(first)
    with pytest.raises(InvalidLossError, match="the loss was nan after 2 skipped batches"):
        train_with(
            folder,
            changed(dataclasses.replace(asked, first_step=6), learning_rate=1e-3),
            is_poisoned=True,
        )
    assert 6 <= metadata(tmp_path)["step"] < 12


def test_skipped_batches_do_not_depend_on_interruptions(folder: Path, tmp_path: Path) -> None:
    data = str(poisoned(tmp_path / "data"))
    found = []
    for name, turns in (("one", []), ("several", [5, 3, 6])):
        (tmp_path / name).mkdir()
        asked = request(
            folder,
            tmp_path / name,
            data=data,
            max_steps=24,
            max_skipped_batches=10,
            steps_per_eval=8,
            keep="both",
        )
        curve, end = in_turns(folder, asked, turns, is_poisoned=True)
        assert end == TrainingEnd(24, "finished")
        assert metadata(tmp_path / name)["skipped_batches"] == 6
        found.append((curve, final_files(tmp_path / name)))
    assert found[0] == found[1]


def test_a_checkpoint_waits_for_a_finite_loss(folder: Path, tmp_path: Path) -> None:
    """Weights that broke in the step before would be saved."""
    asked = request(folder, tmp_path, max_skipped_batches=10, save_every=1)
    with pytest.raises(InvalidLossError, match="after 10 skipped batches"):
        train_with(folder, changed(asked, learning_rate=1e30))
    assert metadata(tmp_path)["step"] == 1


def test_weights_that_broke_before_the_last_skipped_batches_are_not_saved(
    folder: Path, tmp_path: Path
) -> None:
    asked = request(folder, tmp_path, max_skipped_batches=10, save_every=100, max_steps=4)
    with pytest.raises(InvalidLossError, match="the adapters give no finite loss any more"):
        train_with(folder, changed(asked, learning_rate=1e30))
    assert not (tmp_path / ADAPTERS).exists()


def test_sound_weights_are_saved_after_a_skipped_batch(folder: Path, tmp_path: Path) -> None:
    data = str(poisoned(tmp_path / "data"))
    changes: dict[str, Any] = {"data": data, "max_skipped_batches": 10, "save_every": 100}
    asked = request(folder, tmp_path, max_steps=8, **changes)
    events, _ = train_with(folder, asked, is_poisoned=True)
    last = of_kind(events, SkippedBatch)[-1].step
    (tmp_path / "short").mkdir()
    short = request(folder, tmp_path / "short", max_steps=last, **changes)
    events, end = train_with(folder, short, is_poisoned=True)
    assert of_kind(events, SkippedBatch)[-1].step == last
    assert end == TrainingEnd(last, "finished")
    assert (tmp_path / "short" / ADAPTERS).exists()


def test_a_run_without_a_finite_loss_has_not_finished(folder: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    write_rows(data, [{"text": "the lazy dog"}] * 4)
    asked = request(folder, tmp_path, data=str(data), max_skipped_batches=10, max_steps=3)
    with pytest.raises(InvalidLossError, match="no loss of 3 batches was finite"):
        train_with(folder, asked, is_poisoned=True)
    assert not (tmp_path / ADAPTERS).exists()


def test_a_reload_for_memory_waits_for_the_end_of_a_cycle(folder: Path, tmp_path: Path) -> None:
    """A fresh process begins the cycle anew, and would never come to its end."""
    thresholds = {"reload_footprint_bytes": 1, "max_steps": 12}
    asked = request(folder, tmp_path, **thresholds)
    _, end = train_with(folder, changed(asked, config=SCHEDULED["config"]))
    assert end == TrainingEnd(4, "footprint")


def test_patience_that_was_lost_ends_a_resumed_run_at_once(folder: Path, tmp_path: Path) -> None:
    asked = request(folder, tmp_path, max_steps=200, steps_per_eval=2, patience=2)
    _, end = train_with(folder, changed(asked, learning_rate=1e-2))
    assert end.reason == "patience"
    again = dataclasses.replace(asked, first_step=end.step)
    assert train_with(folder, changed(again, learning_rate=1e-2)) == ([], end)
    longer = changed(again, patience=0, max_steps=end.step + 4, learning_rate=1e-2)
    events, more = train_with(folder, longer)
    assert len(losses(events)) == 4
    assert more.reason == "finished"


def test_a_run_of_less_than_a_cycle_saves_nothing(folder: Path, tmp_path: Path) -> None:
    data = str(make_data(tmp_path / "data", rows=6, words=20))
    asked = request(folder, tmp_path, data=data, max_steps=3)
    events, end = train_with(folder, changed(asked, learning_rate=1e-3, config=SCHEDULED["config"]))
    assert end == TrainingEnd(0, "finished")
    assert not of_kind(events, Saved)

"""What counts as the best, when patience is lost, and where saving falls."""

from __future__ import annotations

import dataclasses
import math

import pytest

from pytest_yourai.worker.progress import Cycles, TrainingProgress


def after(*losses: float) -> TrainingProgress:
    """The progress after a step and a validation for each loss."""
    progress = TrainingProgress()
    for loss in losses:
        progress = progress.trained(10).validated(loss)
    return progress


@pytest.mark.parametrize(
    ("losses", "best", "stale"),
    [
        ([3.0], (1, 3.0), 0),
        ([3.0, 2.0], (2, 2.0), 0),
        ([3.0, 3.0], (1, 3.0), 1),
        ([2.0, 3.0, 2.5], (1, 2.0), 2),
        ([2.0, 3.0, 1.5], (3, 1.5), 0),
        ([math.nan, 3.0], (2, 3.0), 0),
        ([3.0, math.nan], (1, 3.0), 1),
        ([math.inf], (None, None), 1),
    ],
)
def test_the_best_is_the_first_of_the_lowest(
    losses: list[float], best: tuple[int | None, float | None], stale: int
) -> None:
    progress = after(*losses)
    assert (progress.best_step, progress.best_loss) == best
    assert progress.stale_validations == stale
    assert progress.is_best == (stale == 0)


def test_before_the_first_step_there_is_no_best() -> None:
    progress = TrainingProgress().validated(1.0)
    assert progress == TrainingProgress(validated_step=0)
    assert not progress.is_best


def test_a_skipped_batch_is_a_step_without_tokens() -> None:
    progress = TrainingProgress().trained(10).skipped().trained(5)
    assert progress == TrainingProgress(step=3, trained_tokens=15, skipped_batches=1)


def test_a_checkpoint_brings_it_back_and_may_lack_what_is_new() -> None:
    progress = after(2.0, 3.0).skipped()
    about = {**dataclasses.asdict(progress), "model": "tiny"}
    assert TrainingProgress.of_checkpoint(about) == progress
    old = {"step": 4, "validated_step": None, "trained_tokens": 9}
    assert TrainingProgress.of_checkpoint(old) == TrainingProgress(step=4, trained_tokens=9)
    assert TrainingProgress.of_checkpoint({}) == TrainingProgress()


@pytest.mark.parametrize(
    ("accumulation", "interval", "due"),
    [
        (1, 3, [0, 3, 6, 9, 12]),
        (4, 4, [0, 4, 8, 12]),
        (4, 3, [0, 4, 8, 12]),
        (4, 5, [0, 8, 12]),
        (4, 1, [0, 4, 8, 12]),
        (3, 100, [0]),
    ],
)
def test_saving_waits_for_the_next_whole_cycle(
    accumulation: int, interval: int, due: list[int]
) -> None:
    cycles = Cycles(14, accumulation)
    assert [step for step in range(14) if cycles.is_due(step, interval)] == due


@pytest.mark.parametrize(("max_steps", "last"), [(12, 12), (14, 12), (3, 0)])
def test_the_last_steps_may_be_no_cycle(max_steps: int, last: int) -> None:
    cycles = Cycles(max_steps, 4)
    assert [step for step in range(max_steps + 1) if cycles.is_last(step)] == [last]

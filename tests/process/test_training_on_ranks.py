"""Training on two ranks of this machine has the losses of one process, whatever befalls a rank."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from pytest_yourai.core.hosts import HostGroup
from pytest_yourai.training.checkpoint import read_checkpoint

from support.models import write_rows
from support.training_runs import Heard, make_input, run, settings

pytestmark = [pytest.mark.real_engine, pytest.mark.xdist_group("training")]

RANKS = HostGroup.here(2)

STEPS = {"max_steps": 8, "save_every": 3, "steps_per_eval": 4, "keep": "both"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = make_input(tmp_path)
    write_rows(made / "data", [{"text": "the fox jumps over the dog"}] * 4, "valid")
    return made


@pytest.mark.parametrize(
    ("reload_interval", "begun"),
    [
        (None, [4]),
        # It starts both ranks once more.
        pytest.param(6, [4, 6], marks=pytest.mark.nightly),
    ],
)
def test_a_lost_rank_ends_it_and_the_losses_go_on_as_those_of_one_process(
    folder: Path,
    faulty_worker: Callable[[str], None],
    reload_interval: int | None,
    begun: list[int],
) -> None:
    alone = Heard()
    assert run(settings(folder, "alone", **STEPS), alone).problem is None

    faulty_worker("SIGKILL@train5")
    struck, adapters = Heard(), folder / "ranks"
    ended = run(settings(folder, "ranks", hosts=RANKS, **STEPS), struck)
    assert ended.problem is not None
    assert ended.problem.startswith(("rank 0 (", "rank 1 ("))
    assert "was ended by SIGKILL in step" in ended.problem
    # Step 4 was validated, and the best so far is saved at once.
    assert f"what is saved is that of step {ended.step}" in ended.problem
    assert struck.begun == [0]
    saved = read_checkpoint(adapters)
    assert saved is not None
    assert (saved.step, ended.step) == (4, 4)

    resumed = Heard()
    again = {"first_step": 4, "reload_interval": reload_interval}
    assert run(settings(folder, "ranks", hosts=RANKS, **again, **STEPS), resumed).problem is None
    assert resumed.begun == begun
    losses = {step: loss for step, loss in struck.losses.items() if step <= 4} | resumed.losses
    assert losses == pytest.approx(alone.losses, rel=1e-4)
    best, best_alone = (read_checkpoint(folder / each) for each in ("ranks", "alone"))
    assert best is not None
    assert best_alone is not None
    assert best.best_step == best_alone.best_step
    assert best.best_loss == pytest.approx(best_alone.best_loss, rel=1e-4)
    names = {each.name for each in adapters.iterdir()}
    assert not [name for name in names if name.startswith(".yourai-")]
    assert {path.name for path in (folder / "alone").iterdir()} <= names

"""Under which run the services file what several processes report."""

from __future__ import annotations

from pathlib import Path

from pytest_yourai.training.train import one_report


def test_a_run_that_is_resumed_keeps_its_id_and_a_new_one_gets_its_own(tmp_path: Path) -> None:
    first = one_report(tmp_path, {}, is_new=True)
    assert first["WANDB_RUN_ID"] == first["SWANLAB_RUN_ID"]
    assert len(first["WANDB_RUN_ID"]) == 21
    assert first["WANDB_RESUME"] == first["SWANLAB_RESUME"] == "allow"
    assert one_report(tmp_path, {}, is_new=False) == first
    assert one_report(tmp_path, {}, is_new=True)["WANDB_RUN_ID"] != first["WANDB_RUN_ID"]


def test_what_the_user_has_set_stays(tmp_path: Path) -> None:
    found = one_report(tmp_path, {"WANDB_RUN_ID": "mine", "SWANLAB_RESUME": "never"}, is_new=True)
    assert sorted(found) == ["SWANLAB_RUN_ID", "WANDB_RESUME"]

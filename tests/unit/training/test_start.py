"""What a run cannot keep to is refused: validations that it has none for, and shares of a batch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pytest_yourai.core.errors import DataError, OptionError
from pytest_yourai.core.hosts import DistributedBackend, HostGroup
from pytest_yourai.training.options import TRAIN_OPTIONS
from pytest_yourai.training.start import (
    begin,
    check_shares,
    check_validation,
    check_validation_shares,
)
from pytest_yourai.worker.protocol import TrainingParameters

from support.training import asked


def parameters(**changes: Any) -> TrainingParameters:
    usual: dict[str, Any] = {
        "max_steps": 10,
        "save_every": 5,
        "steps_per_eval": 5,
        "val_batches": 25,
    }
    return TrainingParameters(**(usual | changes))


@pytest.mark.parametrize(
    ("changes", "data", "rows", "message"),
    [
        (
            {"keep": "best"},
            "/rows",
            0,
            (
                "--keep best needs validations, which /rows has no rows for: add a valid.jsonl, or "
                "leave --keep best out"
            ),
        ),
        ({"keep": "best"}, None, 0, "which made-up data has no rows for"),
        (
            {"patience": 3, "val_batches": 0},
            "/rows",
            9,
            (
                "--patience 3 needs validations, which --val-batches 0 leaves out: raise that, or "
                "leave --patience 3 out"
            ),
        ),
    ],
)
def test_it_is_refused_with_the_flag(
    changes: dict[str, Any], data: str | None, rows: int, message: str
) -> None:
    with pytest.raises(DataError) as caught:
        check_validation(parameters(**changes), data, rows)
    assert message in str(caught.value)


@pytest.mark.parametrize("changes", [{}, {"keep": "both"}, {"val_batches": 0}])
def test_a_run_that_decides_nothing_by_them_needs_none(changes: dict[str, Any]) -> None:
    check_validation(parameters(**changes), "/rows", 0)
    check_validation(parameters(keep="best", patience=1), "/rows", 1)


TWO = HostGroup.here(2)


def test_a_batch_that_the_ranks_cannot_share_is_refused_with_one_that_they_can() -> None:
    with pytest.raises(OptionError) as caught:
        check_shares(TWO, 3, "--batch-size")
    assert str(caught.value) == (
        "--hosts: 2 ranks cannot share a batch of 3 rows (--batch-size): give a --batch-size that "
        "2 divides, such as 4"
    )
    check_shares(TWO, 4, "--batch-size")
    check_shares(None, 3, "--batch-size")


def test_fewer_rows_for_validation_than_ranks_are_refused() -> None:
    with pytest.raises(DataError, match="valid.jsonl has 1 rows for 2 ranks: add rows, or"):
        check_validation_shares(TWO, 1)
    check_validation_shares(TWO, 0)
    check_validation_shares(TWO, 2)
    check_validation_shares(None, 1)


def test_flags_that_name_ranks_are_checked_before_anything_starts(tmp_path: Path) -> None:
    backend = DistributedBackend.RING
    with pytest.raises(OptionError, match="--hosts-backend needs ranks: add --hosts N or"):
        begin(asked(tmp_path, hosts_backend=backend))
    with pytest.raises(OptionError, match="--hosts: jaccl needs a hostfile with rdma"):
        begin(asked(tmp_path, hosts=TWO, hosts_backend=DistributedBackend.JACCL))
    with pytest.raises(OptionError, match="cannot share a batch of 3 rows"):
        begin(asked(tmp_path, hosts=TWO, batch_size=3))
    assert begin(asked(tmp_path, hosts=TWO, hosts_backend=backend)).options.group == HostGroup.here(
        2, backend
    )


def test_ranks_are_read_as_a_sweep_reads_them(tmp_path: Path) -> None:
    option = TRAIN_OPTIONS["hosts"]
    assert option.parse("2") == TWO
    assert option.text(TWO) == "2"
    hostfile = tmp_path / "hosts.json"
    hostfile.write_text('[{"ssh": "a", "ips": ["10.0.0.1"]}, {"ssh": "b", "ips": ["10.0.0.2"]}]')
    group = option.parse(str(hostfile))
    assert group.world_size == 2
    assert option.text(group) == str(hostfile)

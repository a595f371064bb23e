"""Variables of launchers: a group is refused, what is left behind is dropped and reported."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_yourai.core.errors import OptionError
from pytest_yourai.machine.launch import check_alone, is_launch_variable, left_behind

TWO = '[["127.0.0.1:5000"], ["127.0.0.1:5001"]]'


@pytest.mark.parametrize(
    ("environment", "named"),
    [
        ({"MLX_RANK": "0", "MLX_WORLD_SIZE": "2"}, "2 processes of a launcher (MLX_WORLD_SIZE"),
        ({"MLX_RANK": "1", "MLX_HOSTFILE": TWO}, "2 processes of a launcher (MLX_HOSTFILE"),
        ({"MLX_RANK": "1", "MLX_IBV_DEVICES": "[[null], [null], [null]]"}, "3 processes"),
        ({"OMPI_COMM_WORLD_SIZE": "4", "OMPI_COMM_WORLD_RANK": "0"}, "unset OMPI_COMM_WORLD_SIZE"),
        ({"PMI_SIZE": "2"}, "(PMI_SIZE says so)"),
        ({"SLURM_STEP_NUM_TASKS": "2"}, "(SLURM_STEP_NUM_TASKS says so)"),
    ],
)
def test_one_process_of_several_is_refused(environment: dict[str, str], named: str) -> None:
    with pytest.raises(OptionError) as caught:
        check_alone(environment)
    assert named in str(caught.value)
    assert "not measured yet: run it on one" in str(caught.value)


def test_a_hostfile_is_read(tmp_path: Path) -> None:
    hosts = tmp_path / "hosts"
    hosts.write_text(TWO)
    with pytest.raises(OptionError, match="2 processes"):
        check_alone({"MLX_RANK": "0", "MLX_HOSTFILE": str(hosts)})


@pytest.mark.parametrize(
    "environment",
    [
        {"MLX_RANK": "0"},
        {"MLX_RANK": "1", "MLX_HOSTFILE": "/no/such/file"},
        {"MLX_RANK": "1", "MLX_HOSTFILE": "/dev/zero"},
        {"MLX_RANK": "0", "MLX_HOSTFILE": ""},
        {"MLX_RANK": "0", "MLX_HOSTFILE": "[" * 100_000},
        {"MLX_RANK": "x" * 10_000, "MLX_HOSTFILE": "y" * 10_000},
        {"MLX_RANK": "0", "MLX_WORLD_SIZE": "1"},
        {"MLX_RANK": "0", "MLX_WORLD_SIZE": "9" * 5000},
        {"MLX_WORLD_SIZE": "4"},
        {"MLX_HOSTFILE": TWO},
    ],
)
def test_what_no_group_follows_from_is_dropped_and_reported(environment: dict[str, str]) -> None:
    check_alone(environment)
    note = left_behind(environment)
    assert note is not None
    assert note.startswith(", ".join(environment))
    assert all(map(is_launch_variable, environment))


def test_one_process_of_mpirun_is_no_group() -> None:
    environment = {"OMPI_COMM_WORLD_SIZE": "1", "PMIX_RANK": "0"}
    check_alone(environment)
    assert left_behind(environment) is None
    assert all(map(is_launch_variable, environment))


def test_other_variables_stay() -> None:
    names = ("MLX_DISABLE_COMPILE", "MLX_MAX_OPS_PER_BUFFER", "OMP_NUM_THREADS", "SLURM_JOB_ID")
    assert not any(map(is_launch_variable, names))

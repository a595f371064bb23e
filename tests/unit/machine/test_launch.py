"""Variables of launchers: a group is refused, what is left behind is dropped and reported."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_yourai.core.errors import OptionError
from pytest_yourai.machine.launch import (
    check_alone,
    is_launch_variable,
    left_behind,
    without_a_place,
)

TWO = '[["127.0.0.1:5000"], ["127.0.0.1:5001"]]'


@pytest.mark.parametrize(
    ("environment", "named"),
    [
        ({"MLX_RANK": "0", "MLX_WORLD_SIZE": "2"}, "2 processes of a launcher (MLX_WORLD_SIZE"),
        ({"MLX_RANK": "1", "MLX_HOSTFILE": TWO}, "2 processes of a launcher (MLX_HOSTFILE"),
        ({"MLX_RANK": "1", "MLX_IBV_DEVICES": "[[null], [null], [null]]"}, "3 processes"),
        ({"JACCL_RANK": "1", "JACCL_IBV_DEVICES": "[[null], [null]]"}, "unset JACCL_IBV_DEVICES"),
        ({"OMPI_COMM_WORLD_SIZE": "4", "OMPI_COMM_WORLD_RANK": "0"}, "unset OMPI_COMM_WORLD_SIZE"),
        ({"PMI_SIZE": "2"}, "(PMI_SIZE says so)"),
        ({"SLURM_STEP_NUM_TASKS": "2"}, "(SLURM_STEP_NUM_TASKS says so)"),
    ],
)
def test_one_process_of_several_is_refused(environment: dict[str, str], named: str) -> None:
    with pytest.raises(OptionError) as caught:
        check_alone(environment)
    assert named in str(caught.value)
    assert "start it once, without mlx.launch, mpirun or srun" in str(caught.value)
    assert "--yourai-hosts" in str(caught.value)


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


@pytest.mark.parametrize(
    "names",
    [
        # mlx.launch with each of its backends
        "MLX_RANK MLX_HOSTFILE MLX_RING_VERBOSE",
        "MLX_RANK MLX_WORLD_SIZE NCCL_HOST_IP NCCL_PORT NCCL_DEBUG",
        "MLX_RANK MLX_IBV_DEVICES MLX_JACCL_COORDINATOR MLX_JACCL_RING",
        # the names that MLX's JACCL reads first
        "JACCL_RANK JACCL_IBV_DEVICES JACCL_COORDINATOR JACCL_RING",
        # mpirun of Open MPI 4, and of 5
        "OMPI_COMM_WORLD_SIZE OMPI_COMM_WORLD_RANK OMPI_MCA_ess PMIX_RANK MLX_MPI_LIBNAME",
        "PRTE_LAUNCHED PRTE_MCA_plm PMIX_NAMESPACE PMIX_SERVER_URI41 OMPI_COMM_WORLD_SIZE",
        # MPICH and Intel MPI, MVAPICH, srun
        "PMI_RANK PMI_SIZE PMI_FD HYDI_CONTROL_FD HYDRA_LAUNCHER MPI_LOCALNRANKS MPI_LOCALRANKID",
        "MV2_COMM_WORLD_SIZE MV2_COMM_WORLD_RANK",
        "PMI2_RANK PMIX_RANK PMI_JOBID",
    ],
)
def test_variables_of_each_launcher_are_dropped(names: str) -> None:
    assert [name for name in names.split() if not is_launch_variable(name)] == []


def test_other_variables_stay() -> None:
    names = ("MLX_DISABLE_COMPILE", "MLX_MAX_OPS_PER_BUFFER", "OMP_NUM_THREADS", "SLURM_JOB_ID")
    assert not any(map(is_launch_variable, names))


def test_a_launcher_gets_settings_and_no_place_in_a_group() -> None:
    settings = {
        "NCCL_SOCKET_IFNAME": "en0",
        "NCCL_DEBUG": "INFO",
        "OMPI_MCA_btl": "tcp",
        "MLX_RING_VERBOSE": "1",
        "PATH": "/bin",
    }
    left = (
        "MLX_RANK MLX_HOSTFILE MLX_WORLD_SIZE NCCL_HOST_IP NCCL_PORT OMPI_COMM_WORLD_RANK PMI_RANK"
    )
    assert without_a_place({**settings, **dict.fromkeys(left.split(), "1")}) == settings

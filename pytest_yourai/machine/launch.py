"""Launchers of distributed processes: their variables, and whether one has started this process.

Any process with these variables joins its group in mlx-lm's `train()`, and waits for the others.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from pytest_yourai.core.errors import OptionError

_PREFIXES = (
    *("MLX_JACCL_", "MLX_RING_", "JACCL_", "NCCL_"),
    *("OMPI_", "PRTE_", "PMIX_", "PMI_", "PMI2_", "MV2_", "HYDI_", "HYDRA_"),
)

_MPI_LIBRARY = "MLX_MPI_LIBNAME"

_RANKS = ("MLX_RANK", "JACCL_RANK")
"""Without one of them MLX joins no group of its own launcher."""

_LISTS = ("MLX_HOSTFILE", "MLX_IBV_DEVICES", "JACCL_IBV_DEVICES")
"""JSON lists, or files with one, of all members of the group."""

_OF_MLX = (*_RANKS, *_LISTS, "MLX_WORLD_SIZE")
"""Those that only `mlx.launch` sets."""

_NAMES = (*_OF_MLX, "MPI_LOCALNRANKS", "MPI_LOCALRANKID", _MPI_LIBRARY)

_PLACES = (
    *("JACCL_", "MLX_JACCL_", "NCCL_HOST_IP", "NCCL_PORT"),
    *("OMPI_COMM_", "PRTE_LAUNCHED", "PMIX_", "PMI_", "PMI2_", "MV2_COMM_", "HYDI_", "MPI_LOCAL"),
)
"""Beginnings of those by which a launcher says which place in its group a process has."""

_SIZES = (
    "MLX_WORLD_SIZE",
    "OMPI_COMM_WORLD_SIZE",
    "PMI_SIZE",
    "MV2_COMM_WORLD_SIZE",
    "SLURM_STEP_NUM_TASKS",
)
"""Sizes of the group, as NCCL, Open MPI, MPICH, MVAPICH and srun name them."""

_LONGEST_LIST_BYTES = 1 << 20

ALONE: Mapping[str, str] = {_MPI_LIBRARY: "/dev/null/no-mpi"}
"""Variables of a process that joins no group.

mlx-lm's `train()` starts Open MPI wherever it is installed, and where it cannot start, as in a
container without ssh, it ends the process. Of a library that cannot be there MLX starts nothing.
"""


def is_launch_variable(name: str) -> bool:
    """True if MLX, or a library below it, could join a group because of it."""
    return name in _NAMES or name.startswith(_PREFIXES)


def without_a_place(environment: Mapping[str, str]) -> dict[str, str]:
    """`environment` as a launcher should have it: with settings, and no place in a group."""
    return {
        name: text
        for name, text in environment.items()
        if name not in _OF_MLX and not name.startswith(_PLACES)
    }


def check_alone(environment: Mapping[str, str]) -> None:
    """OptionError where a launcher has started this process as one of several."""
    for name in (*_SIZES, *_LISTS):
        size = _size(name, environment)
        if size > 1 and (name not in _OF_MLX or any(each in environment for each in _RANKS)):
            raise OptionError(
                f"this is one of {size} processes of a launcher ({name} says so): start it once, "
                "without mlx.launch, mpirun or srun, and name the machines with --yourai-hosts, "
                f"which starts one rank on each; if no launcher runs, unset {name}"
            )


def left_behind(environment: Mapping[str, str]) -> str | None:
    """A note on variables of `mlx.launch` that stand there without a group; None without any."""
    found = [name for name in _OF_MLX if name in environment]
    if not found:
        return None
    return f"{', '.join(found)} in the environment: not passed on, since no group is running"


def _size(name: str, environment: Mapping[str, str]) -> int:
    """The size of the group by one variable; 0 if it does not say."""
    text = environment.get(name, "")
    if name in _SIZES:
        return int(text) if text.isascii() and text.isdecimal() and len(text) < 10 else 0  # noqa: PLR2004
    try:
        members = json.loads(text if text.lstrip().startswith("[") else _read(Path(text)))
    except (OSError, ValueError, RecursionError):
        return 0
    return len(members) if isinstance(members, list) else 0


def _read(path: Path) -> str:
    if not path.is_file():
        return ""
    with path.open(encoding="utf-8") as file:
        return file.read(_LONGEST_LIST_BYTES)

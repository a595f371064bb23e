"""An Open MPI that ends each process that starts it, as where it finds no ssh."""

from __future__ import annotations

import subprocess
from pathlib import Path

_FUNCTIONS = (
    "Allgather Allreduce Comm_free Comm_rank Comm_size Comm_split Finalize Op_create Recv Send "
    "Type_commit Type_contiguous"
)

_OBJECTS = (
    "comm_world op_sum op_max op_min c_bool c_complex float double int8_t int16_t int32_t int64_t "
    "uint8_t uint16_t uint32_t uint64_t"
)
"""What MLX looks up: without any of them it does not take the library."""

_START = """
#include <stdlib.h>
#include <string.h>
int MPI_Init(void) { exit(1); }
int MPI_Get_library_version(char *text, int *length) {
    strcpy(text, "Open MPI v4.1.2");
    *length = strlen(text);
    return 0;
}
"""


def make_broken_mpi(folder: Path) -> Path:
    """The library, compiled into `folder`; MLX on the CPU needs a compiler, too."""
    functions = (f"int MPI_{name}(void) {{ return 1; }}" for name in _FUNCTIONS.split())
    objects = (f"int ompi_mpi_{name};" for name in _OBJECTS.split())
    source, library = folder / "mpi.c", folder / "libmpi.so"
    source.write_text("\n".join([_START, *functions, *objects]))
    command = ["cc", "-shared", "-fPIC", "-o", str(library), str(source)]
    subprocess.run(command, check=True, timeout=60)
    return library

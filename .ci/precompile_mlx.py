"""Compile the header of the kernels that MLX has g++ compile on the CPU, beside the header.

`python .ci/precompile_mlx.py`, in the environment that MLX is installed in. Without it each kernel
that a new machine meets takes 1.2 s of a processor, with it 0.2 s. Elsewhere than on Linux, and
without g++, there is nothing to do.
"""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

# g++ takes it for the same flags alone: those of MLX 0.32.4 (jit_compiler.cpp).
FLAGS = ("-std=c++17", "-O3", "-Wall", "-fPIC")


def main() -> None:
    found = importlib.util.find_spec("mlx")
    if sys.platform != "linux" or found is None or shutil.which("g++") is None:
        return
    for folder in map(Path, found.submodule_search_locations or ()):
        include = folder / "include"
        header = include / "mlx" / "backend" / "cpu" / "compiled_preamble.h"
        compiled = header.with_name(f"{header.name}.gch")
        if header.exists() and not compiled.exists():
            # Others may do the same now.
            with tempfile.TemporaryDirectory(dir=header.parent) as own:
                new = Path(own) / compiled.name
                # `-w`: it warns of "#pragma once", as if the header were no header.
                command: list[str | Path] = ["g++", *FLAGS, "-w", "-I", include]
                command += ["-x", "c++-header", header, "-o", new]
                subprocess.run(command, check=True)
                new.replace(compiled)


if __name__ == "__main__":
    main()

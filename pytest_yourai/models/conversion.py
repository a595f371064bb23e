"""The command of mlx-lm that stores a model in the quantization that it was loaded in."""

from __future__ import annotations

import re
from dataclasses import dataclass

from pytest_yourai.core.config import Quantization
from pytest_yourai.models.mlx_lm_command import mlx_lm_command, output_path


@dataclass(frozen=True)
class Conversion:
    """A command for a shell, and the folder that it writes."""

    command: str
    folder: str


def conversion(
    model: str, name: str, quantization: Quantization, *, trust_remote_code: bool
) -> Conversion:
    """Converts `model`, a folder or repository, into a folder called after `name` and the bits."""
    plain = re.sub(r"[*?\[\]]", "-", name)
    folder = output_path(f"{plain}-{quantization.bits}bit", model)
    arguments = [
        *("--mlx-path", folder),
        "--quantize",
        *("--q-bits", str(quantization.bits)),
        *("--q-group-size", str(quantization.group_size)),
        *(["--trust-remote-code"] if trust_remote_code else []),
    ]
    return Conversion(mlx_lm_command("mlx_lm.convert", "--hf-path", model, *arguments), folder)

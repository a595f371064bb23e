"""The command of mlx-lm that stores a model in the quantization that it was loaded in."""

from __future__ import annotations

from dataclasses import dataclass

from pytest_yourai.core.config import Quantization
from pytest_yourai.core.shell import command_line


@dataclass(frozen=True)
class Conversion:
    """A command for a shell, and the folder that it writes."""

    command: str
    folder: str


def conversion(
    model: str, name: str, quantization: Quantization, *, trust_remote_code: bool
) -> Conversion:
    """Converts `model`, a folder or repository, into a folder called after `name` and the bits."""
    folder = f"{name}-{quantization.bits}bit"
    command = [
        "mlx_lm.convert",
        *("--hf-path", model),
        *("--mlx-path", folder),
        "--quantize",
        *("--q-bits", str(quantization.bits)),
        *("--q-group-size", str(quantization.group_size)),
        *(["--trust-remote-code"] if trust_remote_code else []),
    ]
    return Conversion(command_line(*command), folder)

"""How mlx-lm's own commands get a model in the quantization that it was loaded in."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pytest_yourai.core.config import Quantization
from pytest_yourai.models.resolve import stored_quantization


@dataclass(frozen=True)
class Conversion:
    """A command for a shell, and the folder that it writes."""

    command: str
    folder: str


def quantized_on_load(
    architecture: Mapping[str, Any], quantization: Quantization | None
) -> Quantization | None:
    """What weights are loaded in, which is `quantization`, and not stored in."""
    return None if stored_quantization(architecture) is not None else quantization


def conversion(
    model: str, name: str, quantization: Quantization, *, trust_remote_code: bool
) -> Conversion:
    """Of `model`, as mlx-lm takes it, into a folder with `name` and the bits in its own."""
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
    return Conversion(shlex.join(command), folder)

"""What cannot be trained, whatever the memory."""

from __future__ import annotations

from collections.abc import Iterable

from pytest_yourai.core.config import FineTuneType
from pytest_yourai.core.errors import ModelError
from pytest_yourai.models.source import ModelSource


def untrainable_in_full(weights: str, flag: str | None = None) -> str:
    """Why `weights`, which are quantized, cannot be trained; `flag` loads them otherwise."""
    how = f" ({flag})" if flag else ""
    return (
        f"full fine-tuning cannot train {weights}, for which MLX has no gradient: use "
        f"fine_tune_type lora or dora, or weights in full precision{how}"
    )


def check_trainable(
    types: Iterable[FineTuneType], source: ModelSource, asked_by: str, quantize_flag: str
) -> None:
    """ModelError if full fine-tuning was asked for, by `asked_by`, of weights that are quantized.

    `quantize_flag` chooses the quantization on load.
    """
    if source.quantization is None or FineTuneType.FULL not in types:
        return
    weights = f"the {source.quantization} weights of {source.name}"
    flag = f"{quantize_flag} none" if source.quantized_on_load else None
    raise ModelError(f"{asked_by}: {untrainable_in_full(weights, flag)}")

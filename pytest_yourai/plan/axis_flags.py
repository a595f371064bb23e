"""The flags of axes, from their table."""

from __future__ import annotations

from pytest_yourai.core.axes import (
    BATCH_SIZE,
    GRAD_CHECKPOINT,
    LORA_KEYS,
    MAX_SEQ_LENGTH,
    NUM_LAYERS,
    RANK,
    SIZES,
    Axis,
    value_text,
)
from pytest_yourai.core.config import LoraConfig
from pytest_yourai.plan.flag_types import Flag

FROM_MATRIX = "from the matrix"

_AXIS_ALIASES = {
    BATCH_SIZE: ("--batch",),
    RANK: ("--lora-rank",),
    NUM_LAYERS: ("--layers", "--lora-layers"),
    MAX_SEQ_LENGTH: ("--max-seq-length",),
    LORA_KEYS: ("--keys",),
}

_AXIS_DEFAULTS = {
    MAX_SEQ_LENGTH: "512 (tiny: 64)",
    GRAD_CHECKPOINT: "off",
    LORA_KEYS: "qkvo in packaged matrices, else all",
}


def axis_flag(axis: Axis) -> Flag:
    """The flag of an axis; several values, between commas, are tried one after the other."""
    default = _AXIS_DEFAULTS.get(axis, FROM_MATRIX if axis in SIZES else "")
    if not default:
        default = value_text(axis.of(LoraConfig(1, 1, 1, 2)))
    is_list = axis.metavar is not None and axis is not LORA_KEYS
    return Flag(
        axis.flag,
        f"{axis.metavar},..." if is_list else axis.metavar,
        f"{axis.help}; several values make it an axis" if is_list else axis.help,
        default,
        aliases=_AXIS_ALIASES.get(axis, ()),
    )

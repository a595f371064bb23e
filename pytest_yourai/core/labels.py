"""Names for the configurations of one sweep."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from pytest_yourai.core.config import LoraConfig
from pytest_yourai.core.redaction import redactor


@dataclass(frozen=True, slots=True)
class ConfigLabels:
    """Names configurations without the values that all of them share; None where they differ.

    `max_seq_length` is in tokens.
    """

    max_seq_length: int | None
    grad_checkpoint: bool | None

    @classmethod
    def of(cls, configs: Iterable[LoraConfig]) -> ConfigLabels:
        """Labels for a sweep through `configs`."""
        shapes = {config.row_shape for config in configs}
        lengths = {shape.max_seq_length for shape in shapes}
        checkpoints = {shape.grad_checkpoint for shape in shapes}
        return cls(
            max_seq_length=lengths.pop() if len(lengths) == 1 else None,
            grad_checkpoint=checkpoints.pop() if len(checkpoints) == 1 else None,
        )

    @property
    def has_lengths(self) -> bool:
        """True if sequence length is an axis."""
        return self.max_seq_length is None

    @property
    def has_checkpointing(self) -> bool:
        """True if gradient checkpointing is an axis."""
        return self.grad_checkpoint is None

    def name(self, config: LoraConfig) -> str:
        """`batch=1, rank=8, layers=4`, and the axes not shared by all: `seq=512, checkpoint=on`."""
        parts = [str(config)]
        if config.max_seq_length != self.max_seq_length:
            parts.append(f"seq={config.max_seq_length}")
        if config.grad_checkpoint is not self.grad_checkpoint:
            parts.append(f"checkpoint={on_or_off(config.grad_checkpoint)}")
        return ", ".join(parts)


def on_or_off(is_on: bool) -> str:
    """The word for a switch: `on` or `off`."""
    return "on" if is_on else "off"


def id_name(name: str) -> str:
    """`name` as part of a test id: only characters that `-k` can match, and without secrets."""
    return re.sub(r"[^A-Za-z0-9._-]", "-", redactor()(name)) or "model"

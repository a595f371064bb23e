"""The configuration to try a model with first: small enough to be safe, and still of use."""

from __future__ import annotations

from dataclasses import dataclass

from pytest_yourai.config import LoraConfig

_GB = 1_000_000_000
_BILLION = 1_000_000_000


@dataclass(frozen=True, slots=True)
class _Size:
    """Batch size, rank and layers."""

    batch_size: int
    rank: int
    num_layers: int


_OF_LARGE_MODELS = (_Size(1, 16, 8), _Size(1, 24, 12), _Size(1, 32, 16))
_OF_MIDDLE_MODELS = (_Size(1, 32, 12), _Size(2, 48, 16))
_OF_SMALL_MODELS = _Size(2, 64, 16)


def safe_configuration(
    parameters: float,
    available_bytes: int,
    *,
    depth: int | None,
    max_seq_length: int,
    grad_checkpoint: bool = False,
) -> LoraConfig:
    """By the model's number of parameters and the memory that training may take.

    The number of layers is cut to `depth`, the model's own, where that is known.
    """
    size = _size(parameters, available_bytes)
    return LoraConfig(
        batch_size=size.batch_size,
        rank=size.rank,
        num_layers=min(size.num_layers, depth or size.num_layers),
        max_seq_length=max_seq_length,
        grad_checkpoint=grad_checkpoint,
    )


def _size(parameters: float, available_bytes: int) -> _Size:
    if parameters > 30 * _BILLION:
        little, some, much = _OF_LARGE_MODELS
        if available_bytes < 40 * _GB:
            return little
        return some if available_bytes <= 60 * _GB else much
    if parameters >= 10 * _BILLION:
        little, enough = _OF_MIDDLE_MODELS
        return little if available_bytes < 20 * _GB else enough
    return _OF_SMALL_MODELS

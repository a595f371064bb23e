"""What is known of a stage once its worker has inspected the model."""

from __future__ import annotations

from dataclasses import dataclass

from pytest_yourai.core.conditions import SweepSettings
from pytest_yourai.core.config import Quantization
from pytest_yourai.plan.sweep_plan import SweepContext
from pytest_yourai.sweep.preflight import Preflight


@dataclass(frozen=True)
class StageInfo:
    """Facts of a stage once its worker has inspected the model.

    `weights` is their kind: `synthetic 4-bit`; `quantized_on_load` is their quantization if they
    are stored in full precision. `settings` are those of its profile, `notes` lines for the header.
    """

    title: str
    weights: str
    settings: SweepSettings
    notes: tuple[str, ...]
    context: SweepContext
    preflight: Preflight | None
    quantized_on_load: Quantization | None
    identity: str = ""
    """Profiles with the same are merged; none is where it is empty."""

"""What is known of a trial before it starts, and what of that is written down."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from pytest_yourai.architecture import Inspected
from pytest_yourai.calibration import Calibration
from pytest_yourai.config import SAFETY_MARGIN, LoraConfig
from pytest_yourai.memory.holders import Holder, largest_holders
from pytest_yourai.memory.system import read_system_memory
from pytest_yourai.prediction import Prediction, Predictor
from pytest_yourai.results import PREDICTED_OVER, ModelSize
from pytest_yourai.step_memory import Backend
from pytest_yourai.sweep_plan import SweepPlan
from pytest_yourai.training_data import TrainingData
from pytest_yourai.units import gigabytes

LEAST_AVAILABLE_BYTES = 2_000_000_000
"""With less no model of a walk is loaded."""

_BYTES_PER_GB = 1e9


@dataclass(frozen=True, slots=True)
class Preflight:
    """What a model asks of the machine in one configuration, before it is loaded. Bytes.

    `holders` are the processes that hold most memory, where more than there is may be needed.
    """

    config: LoraConfig
    available_bytes: int
    weights_bytes: int
    minimum_bytes: int
    conservative_bytes: int
    holders: tuple[Holder, ...] = ()

    @property
    def missing_bytes(self) -> int:
        """What had better be freed first."""
        return max(0, self.conservative_bytes - self.available_bytes)


def preflight(
    config: LoraConfig, prediction: Prediction, available_bytes: int, *, shares_memory: bool
) -> Preflight:
    """The figures of `prediction` against what is available now.

    Who holds memory matters where the device shares the machine's (`shares_memory`).
    """
    found = Preflight(
        config=config,
        available_bytes=available_bytes,
        weights_bytes=prediction.weights_bytes,
        minimum_bytes=prediction.minimum_bytes,
        conservative_bytes=prediction.conservative_bytes,
    )
    if not found.missing_bytes or not shares_memory:
        return found
    return dataclasses.replace(found, holders=largest_holders())


def predictor_of(
    plan: SweepPlan,
    prior: Calibration,
    backend: Backend,
    device: str = "",
    sizes: Inspected | None = None,
    data: TrainingData | None = None,
) -> Predictor:
    """Predicts for the plan's model.

    Of a recording without minima it predicts nothing: peaks are something else.
    """
    source = plan.source
    if plan.recording is not None and not plan.recording.has_minima:
        source = dataclasses.replace(source, architecture={})
    longest_row = data.longest if data else None
    return Predictor(source, backend, device, sizes, prior, longest_row)


def preflight_fields(prediction: Prediction) -> dict[str, float]:
    """Of the journal's `preflight_check`. GB (1e9 bytes)."""
    return {
        "available_gb": read_system_memory().available_bytes / _BYTES_PER_GB,
        "estimated_base_gb": prediction.weights_bytes / _BYTES_PER_GB,
        "estimated_minimum_gb": prediction.minimum_bytes / _BYTES_PER_GB,
        "estimated_conservative_gb": prediction.conservative_bytes / _BYTES_PER_GB,
    }


def refusal(prediction: Prediction, limit_bytes: int) -> str:
    """Why a trial is not run whose prediction is surely over the budget."""
    return (
        f"{PREDICTED_OVER} of {gigabytes(limit_bytes)}: needs {prediction}, and the margin; add "
        "--yourai-force to run it"
    )


def too_heavy(size: ModelSize | None, limit_bytes: int) -> str | None:
    """Why a model cannot fit whose weights alone are over the budget; None where they are not.

    No prediction: the worker builds the model without allocating it, and counts its bytes.
    """
    if size is None or size.weight_bytes * SAFETY_MARGIN <= limit_bytes:
        return None
    return (
        f"its weights alone take {gigabytes(size.weight_bytes)}, with the margin "
        f"{gigabytes(size.weight_bytes * SAFETY_MARGIN)}, over the budget of "
        f"{gigabytes(limit_bytes)}"
    )

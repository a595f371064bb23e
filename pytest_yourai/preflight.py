"""What is known of a trial before it starts, and what of that is written down."""

from __future__ import annotations

import dataclasses

from pytest_yourai.architecture import Inspected
from pytest_yourai.calibration import Calibration
from pytest_yourai.memory.system import read_system_memory
from pytest_yourai.prediction import Prediction, Predictor
from pytest_yourai.results import PREDICTED_OVER
from pytest_yourai.step_memory import Backend
from pytest_yourai.sweep_plan import SweepPlan
from pytest_yourai.training_data import TrainingData
from pytest_yourai.units import gigabytes

_BYTES_PER_GB = 1e9


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

"""Shorter rows for the answer of a sweep with real data."""

from __future__ import annotations

from collections.abc import Sequence

from pytest_yourai.core.config import LoraConfig
from pytest_yourai.core.results import TrialResult
from pytest_yourai.estimate.shorter_rows import ShorterRows, shorter_rows
from pytest_yourai.plan.sweep_plan import predictor_of
from pytest_yourai.sweep.stage_results import StageResults


def shorter_rows_of(
    found: StageResults, results: Sequence[TrialResult], first: TrialResult | None
) -> list[ShorterRows]:
    """Offers instead of the `first` answer, by all `results`; none for made-up rows."""
    setup, context = found.stage.setup, found.context
    data = context.inspection.data if context else None
    if first is None or setup is None or context is None or data is None:
        return []
    predictor = predictor_of(setup.plan, {}, context)
    for each in results:
        predictor.learn(each)

    def needs(config: LoraConfig) -> int | None:
        prediction = predictor.predict(config)
        return None if prediction is None else prediction.minimum_bytes

    return shorter_rows(data, first.config, needs, {each.config: each for each in results})

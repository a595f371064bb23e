"""In which order configurations run, and which need not run."""

from __future__ import annotations

from collections.abc import Iterable

from pytest_yourai.config import LoraConfig
from pytest_yourai.results import ModelSize, TrialResult


def lightest_first(configs: Iterable[LoraConfig]) -> list[LoraConfig]:
    """Ascending score, then batch size; the same order for the same set, whatever its own."""
    return sorted(
        configs,
        key=lambda config: (
            config.throughput_score,
            config.batch_size,
            config.rank,
            config.max_seq_length,
            not config.grad_checkpoint,
        ),
    )


def dominating_failure(
    config: LoraConfig,
    results: Iterable[TrialResult],
    model: str,
    size: ModelSize | None,
    predicted_bytes: int | None = None,
) -> TrialResult | None:
    """The first result that failed for memory with no more of anything than `config`.

    Results of another model count where that one is known to be no larger than `model`, and not
    predicted to need more than `predicted_bytes`, what `config` is: vocabularies differ.
    """

    def is_no_larger(result: TrialResult) -> bool:
        if result.model == model:
            return True
        others = result.predicted_minimum_memory_bytes
        return (
            size is not None
            and result.size is not None
            and size.is_at_least(result.size)
            and (others is None or predicted_bytes is None or others <= predicted_bytes)
        )

    return next(
        (
            result
            for result in results
            if result.prunes_larger
            and config.needs_at_least_as_much_as(result.config)
            and is_no_larger(result)
        ),
        None,
    )

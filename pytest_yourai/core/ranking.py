"""Order of the measured configurations: best, Pareto front, next to soak."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Sequence

from pytest_yourai.core.axes import GRAD_ACCUMULATION_STEPS, RECIPE, Axis
from pytest_yourai.core.config import FineTuneType, LoraConfig, Objective
from pytest_yourai.core.noise import is_surely_faster
from pytest_yourai.core.recipe_needs import LIGHTEST_OPTIMIZERS
from pytest_yourai.core.results import TrialResult
from pytest_yourai.core.soak_results import SoakResult

_FINE_TUNE_TYPES = tuple(FineTuneType)


def _recipe_weight(config: LoraConfig) -> tuple[int, int, float, str, float, int]:
    """Key by which what is trained, and how, is in order of its needs, roughly."""
    names = config.key_names
    return (
        _FINE_TUNE_TYPES.index(config.fine_tune_type),
        LIGHTEST_OPTIMIZERS.index(config.optimizer),
        math.inf if names is None else len(names),
        config.lora_keys,
        config.dropout,
        config.grad_accumulation_steps,
    )


def _rank(result: TrialResult, objective: Objective) -> tuple[float, float, float, float]:
    score, length = (float(part) for part in score_and_length(result.config))
    speed = result.tokens_per_second or 0.0
    need = float(result.minimum_memory_bytes or 0)
    if objective is Objective.SCORE:
        return (score, length, speed, -need)
    return (speed, score, length, -need)


def score_and_length(config: LoraConfig) -> tuple[int, int]:
    """Key by which the score orders: of equal scores longer rows are more capacity."""
    return config.throughput_score, config.max_seq_length


def best(results: Iterable[TrialResult], objective: Objective) -> TrialResult | None:
    """The best result that is ok, or None.

    The score is batch size × rank × layers. Equal scores are told apart by longer rows, then by
    speed; equal speeds by score, then by longer rows; what is left by less minimum memory.
    """
    return next(iter(best_first(results, objective)), None)


def best_first(results: Iterable[TrialResult], objective: Objective) -> list[TrialResult]:
    """The results that are ok, in the order in which they are best."""
    return sorted(
        (result for result in results if result.success),
        key=lambda result: _rank(result, objective),
        reverse=True,
    )


def pareto(results: Iterable[TrialResult]) -> list[TrialResult]:
    """The results that no other one beats."""
    fitting = [result for result in results if result.success]
    return [result for result in fitting if beaten_by(result, fitting) is None]


def beaten_by(result: TrialResult, results: Iterable[TrialResult]) -> TrialResult | None:
    """The fastest of the `results` that beat this one; None if none does.

    They train by the same recipe, with no less capacity (rank × adapted layers) and no shorter
    rows, in no more memory, the minimum. They are faster by more than noise explains, or exactly
    as fast and better in one of these. Accumulation may differ where updates have as many rows.
    """
    return next(
        iter(
            best_first(
                (each for each in results if _beats(each, result)), Objective.TOKENS_PER_SECOND
            )
        ),
        None,
    )


def _beats(other: TrialResult, result: TrialResult) -> bool:
    return (
        other.success
        and all(
            theirs >= mine
            for theirs, mine in zip(_qualities(other), _qualities(result), strict=True)
        )
        and _update_alike(other.config, result.config)
        and (is_surely_faster(other, result) or _is_better_otherwise(other, result))
    )


def _update_alike(one: LoraConfig, other: LoraConfig) -> bool:
    """True for one recipe; its accumulation may differ where an update has the same rows."""
    others = (axis for axis in RECIPE if axis is not GRAD_ACCUMULATION_STEPS)
    return all(axis.of(one) == axis.of(other) for axis in others) and (
        one.grad_accumulation_steps == other.grad_accumulation_steps
        or one.effective_batch_size == other.effective_batch_size
    )


def accumulation_follows(configs: Iterable[LoraConfig]) -> bool:
    """True where it varies with the batch size alone, so that all updates have as many rows."""
    every = list(configs)
    rows = {each.effective_batch_size for each in every}
    return len(rows) == 1 and len({each.grad_accumulation_steps for each in every}) > 1


def independent(axes: Iterable[Axis], configs: Iterable[LoraConfig]) -> list[Axis]:
    """`axes` without accumulation that follows from the batch size."""
    follows = accumulation_follows(configs)
    return [axis for axis in axes if not (follows and axis is GRAD_ACCUMULATION_STEPS)]


def _is_better_otherwise(other: TrialResult, result: TrialResult) -> bool:
    as_fast = other.tokens_per_second == result.tokens_per_second
    return as_fast and _qualities(other) != _qualities(result)


def _qualities(result: TrialResult) -> tuple[float, float, float]:
    return (
        float(result.config.rank * result.config.num_layers),
        float(result.config.max_seq_length),
        -float(result.minimum_memory_bytes or 0),
    )


def fastest_batches(results: Iterable[TrialResult]) -> list[TrialResult]:
    """The fastest batch size of each combination of the other axes that fits, by tokens per second.

    Accumulation that follows from the batch size is no axis of its own. Ascending adapter capacity,
    then rank, then length; without checkpointing first.
    """
    fastest: dict[LoraConfig, TrialResult] = {}
    fastest_first = best_first(results, Objective.TOKENS_PER_SECOND)
    follows = accumulation_follows(each.config for each in fastest_first)
    for result in fastest_first:
        others = dataclasses.replace(result.config, batch_size=1)
        if follows:
            others = dataclasses.replace(others, grad_accumulation_steps=1)
        fastest.setdefault(others, result)
    return sorted(
        fastest.values(),
        key=lambda result: (
            result.config.rank * result.config.num_layers,
            result.config.rank,
            _recipe_weight(result.config),
            result.config.max_seq_length,
            result.config.grad_checkpoint,
        ),
    )


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
            _recipe_weight(config),
        ),
    )


def soak_survivors(
    results: Iterable[TrialResult], soaks: Sequence[SoakResult]
) -> list[TrialResult]:
    """The results that no soak rules out: neither its own, nor that of a smaller one."""
    return [
        result for result in results if not any(soak.rules_out(result.config) for soak in soaks)
    ]


def next_to_soak(
    results: Iterable[TrialResult], soaks: Sequence[SoakResult], objective: Objective
) -> TrialResult | None:
    """The result to soak next; None where one has survived, or none is left."""
    if any(soak.success for soak in soaks):
        return None
    return best(soak_survivors(results, soaks), objective)

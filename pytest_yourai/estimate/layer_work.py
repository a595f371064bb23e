"""What one trained layer makes in a step, for the memory that MLX takes beyond its minimum."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Sequence

from pytest_yourai.core.config import FineTuneType
from pytest_yourai.estimate.free_peak import LayerWork
from pytest_yourai.estimate.kept_arrays import KeptArrays
from pytest_yourai.estimate.trained_arrays import TrainedArrays
from pytest_yourai.models.layer_shapes import LayerShapes

_FLOAT32_BYTES = 4

_OPERATIONS_OF_ROUTING = 40
"""In a layer that routes tokens to experts: scores, sorting, gathering, weighing, adding."""

_NORMS, _OPERATIONS_OF_A_NORM = 2, 8
"""Norms of vectors of the hidden size that a llama's layer has, and operations of each more.

Both numbers of operations were chosen by peaks of mixtures and of gemma2 and gemma3 on an H200.
"""


def layer_work(kept: KeptArrays, trained: TrainedArrays, hidden_size: int) -> LayerWork:
    """The work of the layer of `kept`; `trained` are the arrays of all trained layers."""
    stages = kept.layer.stages
    rows = [(stage.rows, linear) for stage in stages for linear in stage.linears]
    is_full = kept.config.fine_tune_type is FineTuneType.FULL
    multiplied = sum(count * each.inputs * each.outputs for count, each in rows)
    a_layer = trained.parameters / trained.layers
    scores = kept.scores_bytes / kept.element_bytes
    is_fused = not kept.kept_scores_bytes
    is_joined = bool(is_fused and kept.joined_scores_bytes)
    return LayerWork(
        vectors=kept.tokens * (hidden_size + sum(count * each.outputs for count, each in rows)),
        scores=0.0 if is_joined else scores,
        largest_scores=scores,
        is_fused=is_fused,
        adapted_outputs=kept.outputs_bytes / _FLOAT32_BYTES,
        adapted_inputs=kept.wide_bytes / _FLOAT32_BYTES,
        adapter_parameters=0 if is_full else a_layer,
        weight_gradients=a_layer if is_full else 0,
        adapters=0 if is_full else len(kept.adapted),
        inner_product=0 if is_full else kept.tokens * kept.config.rank,
        multiplications=kept.tokens * multiplied,
        kept_bytes=kept.layer_bytes,
        element_bytes=kept.element_bytes,
        more_operations=_more_operations(kept.layer),
        joined_scores=scores if is_joined else 0.0,
    )


def mean_work(layers: Sequence[KeptArrays], trained: TrainedArrays, hidden_size: int) -> LayerWork:
    """The mean work of `layers`, of which those that are alike are one object."""
    counts = Counter(map(id, layers))
    kinds = {id(each): each for each in layers}
    return mean_of(
        [(layer_work(kept, trained, hidden_size), counts[kind]) for kind, kept in kinds.items()]
    )


def mean_of(works: Sequence[tuple[LayerWork, int]]) -> LayerWork:
    """The mean of the works of layers, of which there are so many of each.

    What is trained in a layer is a mean already.
    """
    (first, _), *others = works
    if not others:
        return first
    total = sum(count for _, count in works)

    def mean(of: Callable[[LayerWork], float]) -> float:
        return sum(of(each) * count for each, count in works) / total

    return dataclasses.replace(
        first,
        vectors=mean(lambda each: each.vectors),
        scores=mean(lambda each: each.scores),
        joined_scores=mean(lambda each: each.joined_scores),
        largest_scores=max(each.largest_scores for each, _ in works),
        is_fused=all(each.is_fused for each, _ in works),
        adapted_outputs=mean(lambda each: each.adapted_outputs),
        adapted_inputs=mean(lambda each: each.adapted_inputs),
        adapters=mean(lambda each: each.adapters),
        multiplications=mean(lambda each: each.multiplications),
        kept_bytes=mean(lambda each: each.kept_bytes),
        more_operations=mean(lambda each: each.more_operations),
    )


def _more_operations(layer: LayerShapes) -> int:
    routing = any(stage.rows > 1 for stage in layer.stages) * _OPERATIONS_OF_ROUTING
    norms = sum(not stage.linears and stage.attention is None for stage in layer.stages)
    return routing + max(0, norms - _NORMS) * _OPERATIONS_OF_A_NORM

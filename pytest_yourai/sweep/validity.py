"""Rules that skip a trial which its model, its data or the recipe does not allow."""

from __future__ import annotations

from pytest_yourai.core.config import LoraConfig
from pytest_yourai.core.labels import number_ranges
from pytest_yourai.core.outcomes import Skip, SkipReason
from pytest_yourai.models.source import Inspection, kind_of_training


def why_not_valid(
    config: LoraConfig, inspection: Inspection, effective_batch_size: int | None, ranks: int = 1
) -> Skip | None:
    """The skip of a configuration that `ranks` cannot run at all; None for others."""
    if config.num_layers > inspection.num_hidden_layers:
        reason = f"not valid for this model, which has {inspection.num_hidden_layers} layers"
        return Skip(SkipReason.INVALID, reason, "use fewer lora_layers")
    if skip := _untrainable(config, inspection):
        return skip
    if inspection.data is not None and config.batch_size > inspection.data.rows:
        reason = f"not valid for this data, which has fewer rows than {config.batch_size}"
        return Skip(SkipReason.INVALID, reason, "add rows, or use a smaller batch_size")
    if effective_batch_size not in (None, config.effective_batch_size):
        reason = f"not valid for an effective batch size of {effective_batch_size}, which is "
        reason += f"not a multiple of {config.batch_size}"
        remedy = f"use a batch_size that divides {effective_batch_size}"
        return Skip(SkipReason.INVALID, reason, remedy)
    return indivisible(config, ranks)


def indivisible(config: LoraConfig, ranks: int) -> Skip | None:
    """The skip of a batch that `ranks` cannot divide into equal parts, as mlx-lm asks for."""
    if config.batch_size % ranks == 0:
        return None
    reason = f"not valid for {ranks} ranks, which do not divide a batch of {config.batch_size}"
    return Skip(SkipReason.INVALID, reason, f"use a batch_size that is a multiple of {ranks}")


def _untrainable(config: LoraConfig, inspection: Inspection) -> Skip | None:
    """The skip of a trial that mlx-lm cannot run, or that would train nothing."""
    if why := inspection.untrainable.get(kind_of_training(config)):
        reason, _, remedy = why.rpartition("; ")
        return Skip(SkipReason.INVALID, f"not valid for this model: {reason}", remedy)
    if inspection.trains_anything(config):
        return None
    paths = inspection.lora_keys.get(config.lora_keys, ())
    elsewhere = {each for path in paths for each in inspection.module_layers.get(path, ())}
    without = number_ranges(inspection.layers_without_adapters(config))
    reason = (
        f"not valid for this model, whose layers {without} have no module of "
        f"{config.lora_keys}, which layers {number_ranges(elsewhere)} have"
    )
    return Skip(SkipReason.INVALID, reason, "use more lora_layers, or lora_keys all")

"""What a sweep trains, and how, as lines for its header."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pytest_yourai.core.axes import (
    GRAD_ACCUMULATION_STEPS,
    GRAD_CHECKPOINT,
    LORA_KEYS,
    MAX_SEQ_LENGTH,
    RECIPE,
    Axis,
    value_text,
)
from pytest_yourai.core.config import LoraConfig
from pytest_yourai.core.labels import number_ranges
from pytest_yourai.core.sanitize import printable
from pytest_yourai.estimate.training_memory import trained_parameters
from pytest_yourai.models.source import Inspection
from pytest_yourai.plan.config_choice import ConfigChoice
from pytest_yourai.plan.options import Options
from pytest_yourai.plan.planner import SweepSetup
from pytest_yourai.plan.safe_table import SAFE_KEYS
from pytest_yourai.report.profile_facts import ranks_note

_SHOWN = (*RECIPE, MAX_SEQ_LENGTH, GRAD_CHECKPOINT)

_MOST_MODULES = 7
"""Linear layers of a transformer layer of most models."""


def recipe_lines(
    setup: SweepSetup, configs: Sequence[LoraConfig], found: Inspection, options: Options
) -> Iterator[str]:
    """What is trained, and how, where that is not the usual; and which parameters it trains."""
    yield from unusual_lines(setup, configs, options)
    yield from _trained(setup, configs, found)
    yield from _unadapted(configs, found)


def unusual_lines(
    setup: SweepSetup, configs: Sequence[LoraConfig], options: Options
) -> Iterator[str]:
    """A line with what is not the usual, and where from; with a recipe file, everything.

    Before it a line about the ranks, where several train together.
    """
    if note := ranks_note(setup.plan.settings):
        yield f"Together: {note}"
    usual = LoraConfig(1, 1, 1, setup.model.default_max_seq_length, lora_keys=SAFE_KEYS)
    groups: dict[str, list[str]] = {}
    for axis in _SHOWN:
        applying = [axis.of(each) for each in configs if axis.applies_to(each)]
        values = list(dict.fromkeys(applying))
        is_usual = values == [axis.of(usual)]
        effective = setup.choice.effective_batch_size if axis is GRAD_ACCUMULATION_STEPS else None
        is_told = axis is not GRAD_CHECKPOINT and options.recipe_file is not None
        if not values or (is_usual and effective is None and not is_told):
            continue
        texts = [value_text(value).replace(",", "+") for value in values]
        text, origin = f"{axis.label} {'/'.join(texts)}", _origin(axis, setup.choice, options)
        if effective is not None:
            text = f"effective batch size {effective}"
            origin = _origin_of_effective(setup.choice, options)
        groups.setdefault(origin, []).append(text)
    if groups:
        parts = (f"{', '.join(texts)} ({origin})" for origin, texts in groups.items())
        yield f"Recipe: {printable('; '.join(parts))}"
    if options.recipe_file is not None:
        yield from (f"Note: {printable(note)}" for note in options.recipe_file.notes)


def _origin(axis: Axis, choice: ConfigChoice, options: Options) -> str:
    """Where the values of `axis` come from: a flag, a file, or defaults."""
    match choice.origins.get(axis.name):
        case "flag":
            return "flags"
        case "matrix" if choice.matrix is not None:
            return choice.matrix.source.name
        case "recipe" if options.recipe_file is not None:
            return options.recipe_file.path.name
        case "preset":
            return "preset"
        case "default":
            return "default" if options.recipe_file is None else "mlx-lm's default"
        case _:
            return choice.recording.name if choice.recording else "default"


def _origin_of_effective(choice: ConfigChoice, options: Options) -> str:
    asked = choice.effective_batch_size
    if choice.matrix is not None and choice.matrix.effective_batch_size == asked:
        return choice.matrix.source.name
    if options.recipe_file is not None and options.recipe_file.effective_batch_size == asked:
        return options.recipe_file.path.name
    return "flags"


def _trained(setup: SweepSetup, configs: Sequence[LoraConfig], found: Inspection) -> Iterator[str]:
    """The modules and the numbers of parameters, as far as the model is known."""
    # Whole layers are of one size, whichever modules others adapt.
    usual = next(iter(found.sizes.values()), None)
    counts = [
        trained_parameters(each, setup.plan.source, found.sizes.get(each.lora_keys, usual))
        for each in configs
        if found.trains_anything(each)
    ]
    known = [each for each in counts if each is not None]
    if not known or len(known) < len(counts) or not found.sizes:
        return
    choices = [each.lora_keys for each in configs if LORA_KEYS.applies_to(each)]
    parts = [_modules(list(dict.fromkeys(choices)), found)] if choices else []
    if len(choices) < len(configs):
        parts.append("whole layers")
    least, most = min(known), max(known)
    numbers = f"{least:,}" if least == most else f"{least:,} to {most:,}"
    yield f"Trained: {printable('; '.join(parts))}; {numbers} of {found.parameters:,} parameters"


def _modules(choices: Sequence[str], found: Inspection) -> str:
    if len(choices) > 1:
        return f"adapters on {' or '.join(choices)}"
    # The modules that the same layers have, together.
    groups: dict[tuple[int, ...], list[str]] = {}
    for path in found.lora_keys.get(choices[0], ()):
        groups.setdefault(found.module_layers.get(path, ()), []).append(path)
    widest_first = sorted(groups.items(), key=lambda each: -len(each[0]))
    return f"adapters on {'; '.join(_group(*each, found) for each in widest_first)}"


def _group(layers: Sequence[int], paths: Sequence[str], found: Inspection) -> str:
    more = f" and {len(paths) - _MOST_MODULES} more" if len(paths) > _MOST_MODULES else ""
    where = ""
    if 0 < len(layers) < found.num_hidden_layers:
        where = f" (in {_layers(layers, found)})"
    return f"{', '.join(paths[:_MOST_MODULES])}{more}{where}"


def _layers(layers: Sequence[int], found: Inspection) -> str:
    """`layers 0, 2-4`, or their number where they are scattered."""
    ranges = number_ranges(layers)
    if ranges.count(",") < _MOST_MODULES:
        return f"layers {ranges}"
    return f"{len(layers)} of {found.num_hidden_layers} layers"


def _unadapted(configs: Sequence[LoraConfig], found: Inspection) -> Iterator[str]:
    """A line for each choice of modules that leaves some of the layers of a trial without any."""
    most: dict[str, LoraConfig] = {}
    for each in sorted(configs, key=lambda each: each.num_layers):
        if LORA_KEYS.applies_to(each) and each.num_layers <= found.num_hidden_layers:
            most[each.lora_keys] = each
    for keys, config in most.items():
        if not found.trains_anything(config):
            continue
        if without := found.layers_without_adapters(config):
            count = min(config.num_layers, found.num_hidden_layers)
            yield (
                f"Note: with {printable(keys)} {len(without)} of the last {count} layers have no "
                f"adapters ({number_ranges(without)}), though the score counts them; "
                "--yourai-lora-keys all adapts each layer"
            )

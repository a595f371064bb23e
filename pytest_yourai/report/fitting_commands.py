"""What fits, by estimate, instead of what a sweep found not to fit, each with its command."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pytest_yourai.core.axes import VARIANTS
from pytest_yourai.core.config import LoraConfig
from pytest_yourai.core.results import TrialResult
from pytest_yourai.core.units import gigabytes
from pytest_yourai.plan.arguments import changed_arguments, without_flags
from pytest_yourai.plan.invocation import Invocation
from pytest_yourai.plan.nearest_fits import NearestFit, axis_flag
from pytest_yourai.plan.planner import SweepSetup
from pytest_yourai.plan.stages import RunPlan, Stage
from pytest_yourai.report.model_words import budget_words, estimates_line, model_words
from pytest_yourai.report.nearest import (
    largest_that_lacks_memory,
    nearest_to,
    nearest_to_lightest,
)
from pytest_yourai.report.shorter_rows_lines import cut_words
from pytest_yourai.sweep.stage_results import StageResults

_SHORTEST_ROWS = 128

_FEWEST_BITS = 4


def what_may_fit(plan: RunPlan, found: StageResults, invocation: Invocation) -> Iterator[str]:
    """What takes less memory, in a sweep of which nothing fits."""
    setup = found.stage.setup
    if setup is None:
        return
    fits = nearest_to_lightest(found)
    if fits is None:
        yield from _what_takes_less(setup, found.results, invocation)
    elif fits:
        yield "Next, what fits by estimate, the least change first"
        data = found.context.inspection.data if found.context else None
        for fit in fits:
            change = f"{fit.change}{cut_words(data, fit)}"
            yield f"  {change}: needs {gigabytes(fit.needs_bytes)}"
            yield f"    {_changed(plan, found.stage, invocation, fit)}"
    else:
        yield "By estimate this model does not fit, whatever is changed"
    smaller = estimates_line(plan.options, invocation)
    yield f"Or a smaller model, of those that fit by estimate: {smaller}"


def _changed(plan: RunPlan, stage: Stage, invocation: Invocation, fit: NearestFit) -> str:
    """The command that sweeps the one configuration of `fit`."""
    arguments = without_flags(invocation.arguments, "-k", "-m")
    options = plan.options
    if options.is_replay or options.benchmark or len(options.models) > 1:
        arguments = [*model_words(plan, stage), *budget_words(options), "--quick"]
        variants = _variants(stage, fit.config)
        replaced = [each.partition("=")[0] for each in variants]
        arguments = [*without_flags(arguments, *replaced), *variants]
    return invocation.line(*changed_arguments(arguments, fit))


def _variants(stage: Stage, config: LoraConfig) -> list[str]:
    """The flags for what `config` has beside its sizes that a new sweep of the model would not."""
    usual = LoraConfig(1, 1, 1, stage.model.default_max_seq_length)
    differing = [axis for axis in VARIANTS if axis.of(config) not in (axis.of(usual), False)]
    return [axis_flag(axis, config) for axis in differing]


def what_would_fit(plan: RunPlan, found: StageResults, invocation: Invocation) -> Iterator[str]:
    """What would fit instead of the most that the user asked for by name, if that does not fit."""
    options = plan.options
    is_named = options.axes or options.recipe_file or options.matrix
    wanted = largest_that_lacks_memory(found) if is_named else None
    if wanted is None or not (fits := nearest_to(found, wanted)):
        return
    name = found.stage.naming.name(wanted.config)
    nearest, needs = fits[0], gigabytes(fits[0].needs_bytes)
    yield f"{name} does not fit; by estimate it does with {nearest.change}, needs {needs}"
    yield f"    {_changed(plan, found.stage, invocation, nearest)}"


def _what_takes_less(
    setup: SweepSetup, results: Sequence[TrialResult], invocation: Invocation
) -> Iterator[str]:
    """Remedies for a model that cannot be estimated."""
    arguments = invocation.arguments
    yield "Next: what takes less memory, one or more of"
    configs = [result.config for result in results]
    if not all(config.grad_checkpoint for config in configs):
        yield f"  {invocation.line(*arguments, '--yourai-grad-checkpoint')}"
    if (shortest := min(config.max_seq_length for config in configs)) > _SHORTEST_ROWS:
        others = without_flags(arguments, "--yourai-seq-length")
        yield f"  {invocation.line(*others, f'--yourai-seq-length={shortest // 2}')}"
    quantization = setup.plan.source.quantization
    is_wide = quantization is None or quantization.bits > _FEWEST_BITS
    if is_wide and setup.model.foreign_quantization is None:
        others = without_flags(arguments, "--yourai-quantize")
        yield f"  {invocation.line(*others, f'--yourai-quantize={_FEWEST_BITS}')}"
    if min(config.batch_size for config in configs) > 1:
        yield "  a --yourai-matrix=FILE with a batch_size of 1"
    else:
        yield "  a --yourai-matrix=FILE with a smaller lora_rank and lora_layers"

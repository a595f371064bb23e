"""The table of estimates, in lines of at most 80 ASCII characters unless names are long."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from pytest_yourai.core.axes import SIZES
from pytest_yourai.core.config import SAFETY_MARGIN
from pytest_yourai.core.units import gigabytes, parameters
from pytest_yourai.plan.invocation import Invocation
from pytest_yourai.plan.recommend import Recommendation, Recommendations, Verdict
from pytest_yourai.report.tables import text_table

_HEADER = ("model", "size", "safe", "fits", "needs", "at most", "limited by")

_RIGHT_ALIGNED = ("size", "safe", "needs", "at most")

_BACKENDS = {"metal": "Metal", "cuda": "CUDA", "cpu": "the CPU"}


def lines(found: Recommendations, invocation: Invocation) -> Iterator[str]:
    """The budget, a row for each model, the meaning of the columns, and the next command."""
    machine = f" for {found.machine}" if found.machine else ""
    yield f"Estimates{machine}: nothing was run"
    yield f"Memory limit: {found.budget}, training on {_BACKENDS[found.backend]}"
    if found.machine and found.backend == "cuda":
        yield "A GPU with memory of its own: say how much with --yourai-max-memory"
    lengths = {each.name: str(each.config.max_seq_length) for each in found.models}
    weights = {each.name: str(each.quantization or "not quantized") for each in found.models}
    yield f"Rows of {_most_common(lengths)} tokens, {_most_common(weights)}"
    yield ""
    rows = [_HEADER, *(_cells(model) for model in found.models)]
    yield from text_table(rows, [name in _RIGHT_ALIGNED for name in _HEADER])
    for name, reason in found.left_out.items():
        yield f"{name} is left out: {reason}"
    yield ""
    yield "safe  batch size, LoRA rank and LoRA layers for a first try"
    yield f"fits  {SAFETY_MARGIN} times `at most` is within the limit; tight: of `needs` alone"
    yield _next(found, invocation)


def _cells(model: Recommendation) -> tuple[str, ...]:
    config = model.config
    return (
        model.name,
        parameters(model.parameters),
        ", ".join(axis.text(config) for axis in SIZES),
        model.verdict.value,
        gigabytes(model.estimate.minimum_bytes),
        gigabytes(model.estimate.conservative_bytes),
        model.largest_component,
    )


def _most_common(values: dict[str, str]) -> str:
    """The most common value, and in brackets the exceptions: `512 (tiny: 64)`."""
    usual, _ = Counter(values.values()).most_common(1)[0]
    others = ", ".join(f"{name}: {value}" for name, value in values.items() if value != usual)
    return f"{usual} ({others})" if others else usual


def _next(found: Recommendations, invocation: Invocation) -> str:
    best = found.largest_that_fits
    if best is None:
        return "None fits: try --yourai-grad-checkpoint, or a shorter --yourai-seq-length"
    presets = [f"--yourai-models={found.own_list}"] if found.own_list else []
    asked = (f"--yourai-model={best.asked_as}", *found.recipe_flags)
    command = invocation.line(*presets, *asked, "--quick")
    among = "the largest that" if len(found.models) > 1 else "it"
    verb = "fits" if best.verdict is Verdict.FITS else "may fit"
    return f"Next, {among} {verb}: {command}"

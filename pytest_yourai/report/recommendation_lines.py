"""The table of estimates, in lines of at most 80 ASCII characters unless names are long."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from pytest_yourai.core.axes import SIZES
from pytest_yourai.core.config import SAFETY_MARGIN
from pytest_yourai.core.units import gigabytes, parameters
from pytest_yourai.estimate.shorter_rows import ShorterRows
from pytest_yourai.plan.arguments import changed_arguments, without_flags
from pytest_yourai.plan.invocation import Invocation
from pytest_yourai.plan.nearest_fits import NearestFit
from pytest_yourai.plan.recommendation import Recommendation, Recommendations, Verdict
from pytest_yourai.report.dataset_lines import data_lines
from pytest_yourai.report.scaling_lines import scaling_lines
from pytest_yourai.report.shorter_rows_lines import cut_words, shorter_rows_text
from pytest_yourai.report.tables import text_table

_HEADER = ("model", "size", "try", "fits", "needs", "at most", "limited by")

_RIGHT_ALIGNED = ("size", "try", "needs", "at most")

_WORDS = {Verdict.FITS: "yes", Verdict.TIGHT: "maybe", Verdict.NO: "no"}

_CHANGED = "changed"

_LEGEND = {
    "try": "batch size, LoRA rank and LoRA layers for a first try",
    "yes": "fits, even if the estimate is as far off as it may be: `at most`",
    "maybe": "fits if the estimate is right: `needs`",
    _CHANGED: "does not fit as asked, but as changed above",
    "no": "does not fit, and nothing near it does",
}

_NOT_KEPT = (
    *("--yourai-recommend", "--yourai-model", "--yourai-output"),
    *("--yourai-profile", "--yourai-link-gbit"),
)
"""Flags of the estimate that are not those of the sweep to come."""

_BACKENDS = {"metal": "Metal", "cuda": "CUDA", "cpu": "the CPU"}


def lines(found: Recommendations, invocation: Invocation) -> Iterator[str]:
    """The budget, a row for each model, the meaning of the columns, and the next command."""
    machine = f" for {found.machine}" if found.machine else ""
    yield f"Estimates{machine}: nothing was run"
    yield f"Budget: {found.budget}, training on {_BACKENDS[found.backend]}"
    if found.machine and found.backend == "cuda":
        yield "A GPU with memory of its own: say how much with --yourai-max-memory"
    lengths = {each.name: str(each.asked.max_seq_length) for each in found.models}
    weights = {each.name: str(each.quantization or "not quantized") for each in found.models}
    yield f"Rows of {_most_common(lengths)} tokens, {_most_common(weights)}"
    yield ""
    rows = [_HEADER, *(_cells(model) for model in found.models)]
    yield from text_table(rows, [name in _RIGHT_ALIGNED for name in _HEADER])
    for name, reason in found.left_out.items():
        yield f"{name} is left out: {reason}"
    yield ""
    yield from _data_lines(found)
    if changed := [each for each in found.models if each.instead is not None]:
        yield "Changed to fit"
        yield from map(_change, changed)
        yield ""
    for each in found.models:
        if each.scaling is not None:
            yield from (*scaling_lines(each.name, each.scaling), "")
    shown = {"try", *(_word(each) for each in found.models)}
    yield from (f"{word:7}  {text}" for word, text in _LEGEND.items() if word in shown)
    yield f"{'':7}  each with {round((SAFETY_MARGIN - 1) * 100)} % to spare"
    if any(map(found.is_slow, found.models)):
        yield "A step of a model over 0.1B takes minutes on the CPU: take a Mac or a GPU for it"
    best = found.largest_that_fits
    if best is not None:
        yield from _with_and_without_limit(best, found.budget.limit_bytes)
    yield _next(found, invocation)
    yield from _shorter(found, invocation)


def _data_lines(found: Recommendations) -> Iterator[str]:
    """Lengths of the user's rows, which differ by tokenizer; bars where there is one model."""
    for each in found.models:
        if each.data is not None:
            lines_of_model = list(data_lines(each.data, [each.asked.max_seq_length]))
            if len(found.models) > 1:
                yield f"{each.name}: {lines_of_model[0]}"
            else:
                yield from lines_of_model


def _shorter(found: Recommendations, invocation: Invocation) -> Iterator[str]:
    """What shorter rows save, each with the command that measures it."""
    for each in found.models:
        of_model = f" of {each.name}" if len(found.models) > 1 else ""
        for offer in each.shorter:
            yield f"Or with shorter rows{of_model}, {shorter_rows_text(offer)}"
            yield f"    {_sweep_of(each, offer, invocation)}"


def _sweep_of(model: Recommendation, offer: ShorterRows, invocation: Invocation) -> str:
    near = NearestFit(
        config=offer.config,
        quantization=model.quantization,
        needs_bytes=offer.needs_bytes,
        estimate=model.estimate,
        wanted=model.asked,
        is_requantized=model.instead is not None and model.instead.is_requantized,
    )
    kept = without_flags(invocation.arguments, *_NOT_KEPT)
    words = changed_arguments(kept, near)
    return invocation.line(f"--yourai-model={model.asked_as}", *words)


def _with_and_without_limit(model: Recommendation, budget_bytes: int) -> Iterator[str]:
    """What training takes without a limit, and what it needs under one."""
    estimate, name = model.estimate, model.asked_as
    takes = _range(estimate.peak_bytes, estimate.conservative_peak_bytes)
    needs = _range(estimate.minimum_bytes, estimate.minimum_bytes + estimate.margin_bytes)
    yield f"{name} takes {takes}, with mlx_lm.lora (no limit)"
    yield f"{name} needs {needs}, with yourai train (limited)"
    if estimate.conservative_peak_bytes > budget_bytes:
        may = "is" if estimate.peak_bytes > budget_bytes else "may be"
        yield f"Without a limit it {may} over the budget: take yourai train"


def _range(likely_bytes: int, most_bytes: int) -> str:
    return f"{gigabytes(likely_bytes)}, at most {gigabytes(most_bytes)}"


def _word(model: Recommendation) -> str:
    return _WORDS[model.verdict] if model.instead is None else _CHANGED


def _change(model: Recommendation) -> str:
    fit = model.instead
    change = f"{fit.change}{cut_words(model.data, fit)}" if fit else ""
    may = "" if model.verdict is Verdict.FITS else ", maybe"
    return f"  {model.name}: {change}{may}; as asked {gigabytes(model.asked_bytes)}"


def _cells(model: Recommendation) -> tuple[str, ...]:
    config = model.config
    return (
        model.name,
        parameters(model.parameters),
        ", ".join(axis.text(config) for axis in SIZES),
        _word(model),
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
        return "None fits, whatever is changed: name a smaller model, or a larger budget"
    kept = without_flags(invocation.arguments, *_NOT_KEPT)
    if best.instead is not None:
        kept = changed_arguments(kept, best.instead)
    if not any(each.startswith(("--quick", "--yourai-quick", "--yourai-matrix")) for each in kept):
        kept.append("--quick")
    command = invocation.line(f"--yourai-model={best.asked_as}", *kept)
    if found.is_rather_fast(best):
        return f"Next, what a CPU trains in seconds: {command}"
    among = "the largest that" if len(found.models) > 1 else "it"
    verb = "fits" if best.verdict is Verdict.FITS else "may fit"
    changed = " as changed" if best.instead else ""
    return f"Next, {among} {verb}{changed}: {command}"

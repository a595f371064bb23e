"""Lines of text for the console of a sweep."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

from pytest_yourai.core.answers import find_answers, headlined
from pytest_yourai.core.axes import (
    FINE_TUNE_TYPE,
    NUM_LAYERS,
    RECIPE,
    SIZES,
    Axis,
    value_text,
)
from pytest_yourai.core.config import FineTuneType, LoraConfig, Objective
from pytest_yourai.core.labels import ConfigLabels
from pytest_yourai.core.noise import noise_of
from pytest_yourai.core.outcomes import Outcome
from pytest_yourai.core.ranking import accumulation_follows, independent, soak_survivors
from pytest_yourai.core.results import TrialResult, pace
from pytest_yourai.core.sanitize import printable
from pytest_yourai.core.soak_results import SoakResult
from pytest_yourai.core.units import MB, duration, gigabytes, machine_memory, plural
from pytest_yourai.estimate.predictor import Prediction, PredictionErrors
from pytest_yourai.machine.system_memory import read_system_memory
from pytest_yourai.models.dataset_lengths import TrainingData
from pytest_yourai.report.answer_lines import (
    AnswerTitles,
    beaten_note,
    fits_sentence,
    other_answers,
    speed_and_need,
)
from pytest_yourai.report.dataset_lines import epoch_lines
from pytest_yourai.report.styles import Style, StyledLine, faint, marked
from pytest_yourai.sweep.stage_info import StageInfo

_TRIALS_BETWEEN_ERRORS = 10

_USUAL = LoraConfig(1, 1, 1, 2)


def header(
    opened: StageInfo,
    configurations: int,
    recipe: Iterable[str],
    notes: Sequence[str],
    *,
    is_replay: bool,
) -> Iterator[str]:
    """The header of a sweep: model, recipe, machine, budget, notes."""
    model = f"{printable(opened.title)} ({opened.weights})"
    yield f"Testing {plural(configurations, 'configuration')} for: {model}"
    yield from map(faint, recipe)
    yield from machine_lines(opened)
    if not is_replay:
        yield faint(
            "Each trial compiles in its first steps: minutes on a cold machine, not counted"
        )
    yield from (faint(f"Note: {note}") for note in (*opened.notes, *notes))


def swept_title(configs: Sequence[LoraConfig], naming: ConfigLabels) -> str:
    """What is swept: `Sweep: batch 1, 2, 4 × rank 8 × layers 2, 4`.

    Accumulation that follows from the batch size is no factor: `in updates of 16 rows`.
    """
    parts = []
    follows = accumulation_follows(configs)
    end = f", in updates of {configs[0].effective_batch_size:,} rows" if follows else ""
    for axis in (*SIZES, *independent(naming.varying, configs)):
        values = dict.fromkeys(axis.of(each) for each in configs if axis.applies_to(each))
        texts = map(value_text, sorted(values))
        parts += [f"{axis.label} {', '.join(texts)}"] if values else []
    return f"Sweep: {' × '.join(parts)}{end}"


def machine_lines(opened: StageInfo) -> Iterator[str]:
    """The device, the memory of the machine, and the budget."""
    device, memory_bytes = opened.context.device, read_system_memory().total_bytes
    yield faint(
        f"Device: {device.name} ({device.backend}), MLX {device.mlx_version}, "
        f"system memory: {machine_memory(memory_bytes)}"
    )
    yield f"Budget: {opened.context.budget}"


def trial_line(index: int, total: int, result: TrialResult, naming: ConfigLabels) -> str:
    """One line for a trial that ended."""
    name = naming.name(result.config)
    return styled(f"[{index}/{total}] {name} ... {_verdict(result)}{remarks(result)}", result)


def styled(line: str, result: TrialResult) -> str:
    """The line of a trial or a check: its mark in colour, all of it faint if it was skipped."""
    if result.outcome is Outcome.SKIPPED:
        return faint(line)
    return marked(line, is_good=result.success)


def remarks(result: TrialResult) -> str:
    """Warnings of a trial, to follow its verdict."""
    known = " (kept)" if result.kept else ""
    return "".join(f"; {warning}" for warning in result.warnings) + known


def errors_so_far(results: Sequence[TrialResult]) -> Iterator[str]:
    """The errors of the predictions, after every tenth trial that had one."""
    errors = PredictionErrors.of(results)
    is_tenth = len(errors.errors) % _TRIALS_BETWEEN_ERRORS == 0
    if is_tenth and PredictionErrors.of(results[-1:]).errors:
        yield faint(f"  {errors}")


def _verdict(result: TrialResult) -> str:
    need = gigabytes(result.minimum_memory_bytes or 0)
    why = printable(result.error or "")
    match result.outcome:
        case Outcome.OK:
            peak = gigabytes(result.peak_memory_bytes or 0)
            noise = noise_of(result)
            spread = f" {noise}" if noise else ""
            return f"✓ needs {need}, takes {peak}, {pace(result)}{spread}"
        case Outcome.OVER_BUDGET:
            return f"✗ over budget: {f'needs {need}' if result.minimum_memory_bytes else why}"
        case Outcome.SKIPPED:
            return f"- skipped: {why}"
        case _:
            return f"✗ {result.outcome.replace('_', ' ')}: {why}"


def summary(
    results: Sequence[TrialResult],
    objective: Objective,
    total: int,
    stopped: str | None,
    naming: ConfigLabels,
    data: TrainingData | None = None,
    model: str | None = None,
    soaks: Sequence[SoakResult] = (),
) -> Iterator[str]:
    """The answers, from `results` of `total` configurations that have survived their `soaks`.

    `stopped` is why a fast search left out the rest; `data` is real training data, if any. `model`
    is the name of one of several models, whose summaries are short.
    """
    of_model = f": {model}" if model else ""
    remaining = soak_survivors(results, soaks)
    answers = find_answers(remaining)
    first, titles = headlined(answers, results, objective), AnswerTitles(results, objective)
    so_far = _measured_of(results, total) if len(results) < total else None
    if first is None:
        if so_far is not None:
            yield f"Incomplete: {so_far}"
        yield none_fits(results, has_soaks=bool(soaks)) + of_model
    else:
        heading = titles.heading(answers.names(first))
        if so_far is not None:
            heading = f"Best so far ({so_far})"
        yield StyledLine(heading + of_model, Style.ANSWER)
        figures = [f"  {optimum_figures(first, naming)}"] if model else _optimum(first, naming)
        yield from (StyledLine(line, Style.ANSWER) for line in figures)
        yield StyledLine(f"  {fits_sentence(first)}", Style.GOOD, "Fits:")
        if (note := beaten_note(first, remaining, naming)) is not None:
            yield f"  {note}"
        yield from epoch_lines(data, first)
    if len(results) > 1 or (results and first is None):
        yield faint(f"  Outcomes:      {_outcomes(results)}")
    yield from other_answers(answers, first, titles, naming)
    if stopped is not None:
        trials = sum(each.started and not each.kept for each in results)
        yield faint(f"Search: stopped after {plural(trials, 'trial')}: {stopped}")
        if objective is Objective.SCORE:
            yield faint("To search for the fastest: --yourai-objective=tokens_per_second")
    errors = PredictionErrors.of(results)
    if errors.errors:
        yield faint(str(errors))


def _outcomes(results: Iterable[TrialResult]) -> str:
    counts = Counter(result.outcome for result in results)
    return ", ".join(f"{counts[each]} {each}" for each in Outcome if counts[each])


def _measured_of(results: Sequence[TrialResult], total: int) -> str:
    return f"{sum(each.started for each in results)} of {total} measured"


def none_fits(results: Iterable[TrialResult], *, has_soaks: bool) -> str:
    """The reason for the lack of an optimum."""
    if has_soaks:
        return "No configuration survived its soak"
    if any(each.lacks_memory for each in results):
        return "No configuration fits"
    return "No configuration was measured to its end"


def optimum_figures(optimum: TrialResult, naming: ConfigLabels) -> str:
    """An optimum and its figures, as part of a line."""
    return (
        f"{naming.name(optimum.config)}: score {optimum.config.throughput_score:,}, "
        f"{speed_and_need(optimum)}"
    )


def _optimum(optimum: TrialResult, naming: ConfigLabels) -> Iterator[str]:
    config = optimum.config
    score = " × ".join(map(str, config.score_factors))
    is_full = config.fine_tune_type is FineTuneType.FULL
    if is_full and FINE_TUNE_TYPE not in naming.varying:
        yield f"  {f'{FINE_TUNE_TYPE.title}:':<14} full fine-tuning"
    for axis in (*SIZES, *naming.varying, *_unusual(config, naming)):
        if axis.applies_to(config):
            title = "Layers" if is_full and axis is NUM_LAYERS else axis.title
            yield f"  {f'{title}:':<14} {axis.text(config)}"
    yield f"  Score:         {config.throughput_score:,} ({score})"
    yield f"  Speed:         {optimum.tokens_per_second or 0:,.0f} tokens/s"


def _unusual(config: LoraConfig, naming: ConfigLabels) -> list[Axis]:
    """The axes of the recipe that are the same for all, and not as in most sweeps."""
    same = [axis for axis in RECIPE if axis not in naming.varying]
    if config.fine_tune_type is FineTuneType.FULL:
        same.remove(FINE_TUNE_TYPE)
    return [axis for axis in same if axis.of(config) != axis.of(_USUAL)]


def predictions(
    found: Mapping[str, Prediction | str], backend: str, limit_bytes: int | None
) -> Iterator[str]:
    """The predicted memory of each configuration, by its id; or why it cannot be predicted.

    `backend` is empty if nothing can be predicted.
    """
    width = max(map(len, found), default=0)
    if backend:
        within = f" within {gigabytes(limit_bytes)}" if limit_bytes else ", no budget named"
        yield f"Predicted for {backend}{within}, before anything was measured:"
    for item_id, prediction in found.items():
        if isinstance(prediction, str):
            yield f"  {item_id:{width}}  {prediction}"
            continue
        over = limit_bytes is not None and prediction.is_surely_over(limit_bytes)
        takes = f", takes up to {gigabytes(prediction.peak_bytes_within(limit_bytes))}"
        end = ", over the budget" if over else takes
        yield f"  {item_id:{width}}  needs {prediction}{end}"


_LEAST_SWAP_GROWTH_BYTES = 1_000_000

_AS_FAST = 0.05
"""Common variation of step times; a smaller change counts as none."""


def soak_line(title: str, name: str, soak: SoakResult) -> str:
    """One line for a soak that ended."""
    if soak.success:
        verdict = f"✓ {', '.join(_measured(soak))}"
    else:
        verdict = f"✗ {soak.outcome.replace('_', ' ')}: {soak.error}"
    line = f"{title}: {name} ... {verdict}" + "".join(f"; {each}" for each in soak.warnings)
    return marked(line, is_good=soak.success)


def _measured(soak: SoakResult) -> Iterator[str]:
    yield duration(soak.duration_s)
    yield plural(soak.steps, "step")
    peak, of_trial = soak.peak_memory_bytes or 0, soak.trial_peak_memory_bytes or 0
    yield f"peak {gigabytes(peak)} (trial {gigabytes(of_trial)})"
    if soak.active_growth_bytes_per_step is not None:
        yield f"memory {_growth(soak.active_growth_bytes_per_step)} MB a step"
    footprint = _growth(soak.footprint_growth_bytes_per_step or 0)
    if float(footprint):
        yield f"footprint {footprint} MB a step"
    if soak.swap_growth_bytes >= _LEAST_SWAP_GROWTH_BYTES:
        yield f"swap +{gigabytes(soak.swap_growth_bytes)}"
    if soak.slowdown is not None:
        speed = "slower than" if soak.slowdown > 1 else "faster than"
        if abs(soak.slowdown - 1) <= _AS_FAST:
            speed = "as fast as"
        yield f"last tenth {speed} the first ({soak.slowdown:.2f})"


def _growth(bytes_per_step: float) -> str:
    # Adding 0 takes the sign from a zero.
    return f"{round(bytes_per_step / MB, 1) + 0.0:+.1f}"

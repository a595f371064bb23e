"""The lines on the console during a run and at its end: which of them, and when."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Sequence

from pytest_yourai.core.answers import find_answers, headline
from pytest_yourai.core.config import LoraConfig
from pytest_yourai.core.outcomes import SkipReason
from pytest_yourai.core.results import TrialResult
from pytest_yourai.core.soak_results import SoakResult
from pytest_yourai.core.units import duration, parameters
from pytest_yourai.estimate.predictor import Prediction, Predictor
from pytest_yourai.plan.stages import RunPlan, Stage
from pytest_yourai.plan.sweep_plan import static_predictor
from pytest_yourai.report import walk_lines
from pytest_yourai.report.answer_lines import AnswerTitles
from pytest_yourai.report.dataset_lines import data_lines, epoch_lines
from pytest_yourai.report.nearest import check_line
from pytest_yourai.report.recipe_lines import recipe_lines, unusual_lines
from pytest_yourai.report.screen import TerminalSize
from pytest_yourai.report.summary import configuration_lines, failure_lines, not_run_lines
from pytest_yourai.report.trial_lines import (
    errors_so_far,
    header,
    machine_lines,
    predictions,
    soak_line,
    styled,
    summary,
    swept_title,
    trial_line,
)
from pytest_yourai.store.benchmark_results import recommended
from pytest_yourai.sweep.reports import ItemCounts, TrialReport
from pytest_yourai.sweep.run_results import RunResults
from pytest_yourai.sweep.stage_info import StageInfo
from pytest_yourai.sweep.stage_results import StageResults
from pytest_yourai.sweep.validity import indivisible

_LINES_AFTERWARDS = 9
"""Lines after the summary: the files, the next command, and pytest's own."""


class Console:
    """Makes lines of text from results as they come in; prints nothing itself.

    `room` returns the present size of the terminal.
    """

    def __init__(
        self, setup: RunPlan, collected: RunResults, room: Callable[[], TerminalSize] = TerminalSize
    ) -> None:
        self._room = room
        self._setup = setup
        self._collected = collected
        self._summed_up: set[Stage] = set()
        self._has_title = False

    def opened(
        self, stage: Stage, opened: StageInfo, counts: ItemCounts, notes: Sequence[str]
    ) -> list[str]:
        """The header of a stage that was just added to the results."""
        data = opened.context.inspection.data
        if not self._setup.is_walk:
            rule, is_replay = self._room().rule, self._setup.options.is_replay
            recipe = self._recipe(stage, opened)
            title = swept_title(stage.setup.plan.configs if stage.setup else (), stage.naming)
            notes = [*_origins([stage]), *notes]
            lines = [
                "",
                *(rule, title, rule),
                *header(opened, counts.of_stage, recipe, notes, is_replay=is_replay),
            ]
            if opened.preflight:
                lines += walk_lines.shortage_lines(opened.preflight)
            return [*lines, "", *data_lines(data, stage.max_seq_lengths)]
        lines = list(self._walk_title(counts))
        if sum(each.opened is not None for each in self._collected.stages.values()) == 1:
            recipe = self._recipe(stage, opened)
            noted = (f"Note: {note}" for note in notes)
            lines += [*machine_lines(opened), *recipe, *noted, ""]
        is_new = not self._has_line(stage)
        if stage.is_check and opened.preflight is not None:
            lines += walk_lines.preflight_lines(stage.name, opened.preflight, stage.naming)
        elif is_new and not stage.is_check:
            found, verdict = self._collected.stages[stage], "swept without a check"
            lines.append(self._model_line(found, counts, f"{verdict}, {opened.weights}"))
        if is_new:
            stages = (each for each in self._setup.stages if each.name == stage.name)
            lengths = {length for each in stages for length in each.max_seq_lengths}
            lines += walk_lines.indented(data_lines(data, lengths))
        return lines + [f"Note: {note}" for note in opened.notes]

    def _recipe(self, stage: Stage, opened: StageInfo) -> list[str]:
        """What the stage trains; in a walk without the parameters, which each model has its own."""
        if stage.setup is None:
            return []
        configs = [stage.check.like] if stage.check else stage.setup.plan.configs
        options = self._setup.options
        if self._setup.is_walk:
            return list(unusual_lines(stage.setup, configs, options))
        return list(recipe_lines(stage.setup, configs, opened.context.inspection, options))

    def _has_line(self, stage: Stage) -> bool:
        """True if the check of the model has a line on the console."""
        return any(
            each.is_check and each.name == stage.name and found.results
            for each, found in self._collected.stages.items()
        )

    def _model_line(self, found: StageResults, counts: ItemCounts, verdict: str) -> str:
        name = found.stage.name
        names = list(dict.fromkeys(stage.name for stage in self._collected.stages))
        place = names.index(name) + 1
        width = max(len(stage.name) for stage in self._setup.stages)
        size = parameters(found.parameters)
        return walk_lines.model_line(place, counts.models, name, size, verdict, width)

    def _walk_title(self, counts: ItemCounts) -> Iterator[str]:
        """The title of a walk, once, before its other lines."""
        if not self._has_title:
            self._has_title = True
            yield from walk_lines.title(counts.models, self._room().rule)
            yield from (f"  {origin}" for origin in _origins(self._setup.stages))

    def trial(self, reported: TrialReport, found: StageResults) -> list[str]:
        """The line of a trial that ended, the newest of `found`."""
        stage, result = found.stage, reported.result
        if self._setup.is_walk and (stage.is_check or not found.opened):
            return list(self._verdict(reported, found))
        lines: list[str] = []
        if not (reported.is_not_needed or self._is_counted_alone(result)):
            count, naming = len(found.results), stage.naming
            lines = [
                trial_line(count, found.selected, result, naming),
                *errors_so_far(found.results),
            ]
            if self._setup.is_walk:
                lines = list(walk_lines.indented(lines))
        if found.is_complete and not self._setup.has_one_profile:
            lines += self._closing(found, self._room())
        return lines

    def _is_counted_alone(self, result: TrialResult) -> bool:
        """True for a trial that was skipped for memory: how many were is in the summary."""
        for_memory = (
            SkipReason.PREDICTED_OVER_BUDGET,
            SkipReason.OVER_DEVICE_LIMIT,
            SkipReason.DOMINATED,
        )
        return result.skip_reason in for_memory and not self._room().is_verbose

    def _verdict(self, reported: TrialReport, found: StageResults) -> Iterator[str]:
        """The line of a check; or, once, of a sweep that could not begin and has no check."""
        result, opened = reported.result, found.opened
        has_line = self._has_line(found.stage) or len(found.results) > 1
        if has_line and not found.stage.is_check:
            return
        yield from self._walk_title(reported.counts)
        verdict = walk_lines.verdict(result, opened.weights if opened else "")
        yield styled(self._model_line(found, reported.counts, verdict), result)
        if opened and result.success:
            yield from walk_lines.indented(epoch_lines(opened.context.inspection.data, result))
        yield from walk_lines.indented(check_line(found, result))

    def _closing(self, found: StageResults, room: TerminalSize) -> Iterator[str]:
        """The summary of a stage, once."""
        if found.stage in self._summed_up or found.stage.is_check or not found.opened:
            return
        self._summed_up.add(found.stage)
        data = found.opened.context.inspection.data
        objective, naming = self._setup.options.objective, found.stage.naming
        if self._setup.is_walk:
            first = self._collected.headline(found)
            answers, titles = find_answers(found.remaining), AnswerTitles(found.results, objective)
            yield from walk_lines.indented(
                [
                    *walk_lines.answer_lines(answers, first, titles, naming),
                    *(epoch_lines(data, first) if first else ()),
                ]
            )
            return
        answer = summary(
            found.results,
            objective,
            found.selected,
            found.stopped,
            naming,
            data,
            None if self._setup.has_one_profile else found.stage.name,
            found.soaks,
        )
        if not self._setup.has_one_profile:
            yield from ("", *answer)
            return
        summed_up, failed = list(answer), list(failure_lines(found.results, naming, room))
        rest = [failed, list(not_run_lines(found.results))]
        others = len(summed_up) + sum(len(lines) + 1 for lines in rest if lines) + _LINES_AFTERWARDS
        order = headline(found.results, objective).objective
        table = list(configuration_lines(found.remaining, order, naming, room, others))
        yield from summed_up
        for lines in filter(None, (table, *rest)):
            yield from ("", *lines)

    def soak_begins(self, stage: Stage, config: LoraConfig) -> str:
        """The line of a soak that begins."""
        name, asked = stage.naming.name(config), duration(self._setup.options.soak_s or 0)
        return f"{self._soak_title(stage)}: {name} for {asked}"

    def soak_ended(self, stage: Stage, result: SoakResult) -> str:
        """The line of a soak that ended."""
        return soak_line(self._soak_title(stage), stage.naming.name(result.config), result)

    def soaked(self, stage: Stage) -> Iterator[str]:
        """The optimum after a model's soaks, if they changed it."""
        found = self._collected.stages[stage]
        if stage in self._summed_up and not all(each.success for each in found.soaks):
            first = self._collected.headline(found)
            name = stage.naming.name(first.config) if first else "none, all failed their soak"
            yield f"After the soak of {stage.name}: {name}"

    def _soak_title(self, stage: Stage) -> str:
        return "Soak" if self._setup.has_one_profile else f"Soak of {stage.name}"

    def summary(self) -> Iterator[str]:
        """The summary of the run, as far as the terminal has room for it."""
        room = self._room()
        if self._collected.is_soaking:
            yield "Incomplete: a soak was broken off"
        stages = self._collected.stages.values()
        closing = [line for found in stages for line in self._closing(found, room)]
        yield from closing
        if self._setup.has_one_profile:
            return
        if closing:
            yield ""
        models = self._collected.models()
        best = recommended(models)
        if not self._collected.is_complete:
            yield "Incomplete: not all models and configurations were tried"
            if best is None:
                return
        others = [each.name for each in reversed(models) if each.success and each is not best]
        yield from walk_lines.conclusion(best.name if best else None, others)

    def predictions(self, ids: Container[str]) -> Iterator[str]:
        """The predicted memory of each configuration, for --collect-only."""
        found: dict[str, Prediction | str] = {}
        backend, limit_bytes = "", self._setup.options.memory_limit_bytes
        for stage in self._setup.stages:
            predictor = static_predictor(stage.setup.plan) if stage.setup else None
            problem, unknown = stage.problem, "unknown: it cannot be estimated"
            reason = f"{problem.outcome}: {problem.reason}" if problem else unknown
            for item_id, config in stage.configs_by_id.items():
                if item_id in ids:
                    found[item_id] = _predicted(stage, config, predictor) or reason
            if stage.setup is not None and predictor is not None:
                recording = stage.setup.plan.recording
                recorded_bytes = recording.memory_limit_bytes if recording else None
                backend = predictor.backend
                limit_bytes = self._setup.options.memory_limit_bytes or recorded_bytes
        yield from predictions(found, backend, limit_bytes)


def _predicted(
    stage: Stage, config: LoraConfig | None, predictor: Predictor | None
) -> Prediction | str | None:
    """The prediction for `config`, of a check for what it is assumed to try; None if unknown."""
    tried = config or stage.assumed_config
    ranks = stage.setup.plan.settings.ranks if stage.setup else 1
    if skip := indivisible(tried, ranks):
        return skip.reason
    return predictor.predict(tried) if predictor else None


def _origins(stages: Sequence[Stage]) -> list[str]:
    """Which repository each preset is, and whose: once each."""
    found = {each.name: each.model.origin for each in stages}
    return [f"{name} is {origin}" for name, origin in found.items() if origin]

"""The lines on the console during a run and at its end: which of them, and when."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Sequence

from pytest_yourai.core.config import LoraConfig
from pytest_yourai.core.results import SoakResult
from pytest_yourai.estimate.predictor import Prediction
from pytest_yourai.machine.system_memory import read_system_memory
from pytest_yourai.plan.stages import RunPlan, Stage
from pytest_yourai.plan.sweep_plan import static_predictor
from pytest_yourai.report import trial_lines, walk_lines
from pytest_yourai.report.dataset_lines import data_lines, epoch_lines
from pytest_yourai.report.screen import TerminalSize
from pytest_yourai.report.summary import configuration_lines, failure_lines, not_run_lines
from pytest_yourai.store.benchmark_results import recommended
from pytest_yourai.sweep.run_results import ItemCounts, RunResults, StageResults, TrialReport
from pytest_yourai.sweep.stage_runner import StageInfo

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
        self._width = max((len(stage.name) for stage in setup.stages), default=0)

    def opened(
        self, stage: Stage, opened: StageInfo, counts: ItemCounts, notes: Sequence[str]
    ) -> list[str]:
        """The header of a stage that was just added to the results."""
        found = self._collected.stages[stage]
        is_first = sum(each.opened is not None for each in self._collected.stages.values()) == 1
        data = opened.surroundings.inspection.data
        if not self._setup.is_walk:
            about_data = data_lines(data, stage.max_seq_lengths)
            return ["", *self._sweep_header(opened, counts, notes), *about_data]
        lines = list(self._walk_title(counts))
        if is_first:
            lines += walk_lines.where(
                budget=opened.surroundings.budget,
                system_memory_bytes=read_system_memory().total_bytes,
                device=_device(opened),
                notes=notes,
            )
        is_new = not self._has_line(stage)
        if stage.is_check and opened.preflight is not None:
            lines += walk_lines.preflight_lines(stage.name, opened.preflight, stage.naming)
        elif is_new and not stage.is_check:
            lines.append(self._model_line(found, counts, walk_lines.sweep_alone(opened.weights)))
        if is_new:
            lines += walk_lines.indented(data_lines(data, self._lengths(stage.name)))
        return lines + [f"Note: {note}" for note in opened.notes]

    def _has_line(self, stage: Stage) -> bool:
        """True if the check of the model has a line on the console."""
        return any(
            each.is_check and each.name == stage.name and found.results
            for each, found in self._collected.stages.items()
        )

    def _lengths(self, name: str) -> set[int]:
        """All sequence lengths that a model is tried with, in tokens."""
        stages = (stage for stage in self._setup.stages if stage.name == name)
        return {length for stage in stages for length in stage.max_seq_lengths}

    def _model_line(self, found: StageResults, counts: ItemCounts, said: str) -> str:
        name = found.stage.name
        names = list(dict.fromkeys(stage.name for stage in self._collected.stages))
        place = names.index(name) + 1
        return walk_lines.model_line(place, counts.models, name, found.params, said, self._width)

    def _walk_title(self, counts: ItemCounts) -> Iterator[str]:
        """The title of a walk, once, before its other lines."""
        if not self._has_title:
            self._has_title = True
            yield from walk_lines.title(counts.models, self._room().rule)

    def _sweep_header(
        self, opened: StageInfo, counts: ItemCounts, notes: Sequence[str]
    ) -> Iterator[str]:
        short = walk_lines.shortage_lines(opened.preflight) if opened.preflight else ()
        return trial_lines.header(
            rule=self._room().rule,
            title=opened.title,
            weights=opened.weights,
            configurations=counts.of_stage,
            budget=opened.surroundings.budget,
            system_memory_bytes=read_system_memory().total_bytes,
            device=_device(opened),
            notes=[*opened.notes, *notes],
            warnings=list(short),
            is_replay=self._setup.output.is_replay,
        )

    def trial(self, reported: TrialReport, found: StageResults) -> list[str]:
        """The line of a trial that ended, the newest of `found`."""
        stage, result = found.stage, reported.result
        if self._setup.is_walk and (stage.is_check or not found.opened):
            return list(self._verdict(reported, found))
        lines: list[str] = []
        if not reported.is_not_needed:
            indent = walk_lines.INDENT if self._setup.is_walk else ""
            naming = stage.naming
            lines.append(
                indent + trial_lines.trial_line(len(found.results), found.selected, result, naming)
            )
            lines += [indent + line for line in trial_lines.errors_so_far(found.results)]
        if found.is_complete and not self._setup.has_one_profile:
            lines += self._closing(found, self._room())
        return lines

    def _verdict(self, reported: TrialReport, found: StageResults) -> Iterator[str]:
        """The line of a check; or, once, of a sweep that could not begin and has no check."""
        result, opened = reported.result, found.opened
        is_told = self._has_line(found.stage) or len(found.results) > 1
        if is_told and not found.stage.is_check:
            return
        yield from self._walk_title(reported.counts)
        said = walk_lines.verdict(result, opened.weights if opened else "")
        yield self._model_line(found, reported.counts, said)
        if opened and result.success:
            yield from walk_lines.indented(epoch_lines(opened.surroundings.inspection.data, result))

    def _closing(self, found: StageResults, room: TerminalSize) -> Iterator[str]:
        """The summary of a stage, once."""
        if found.stage in self._summed_up or found.stage.is_check or not found.opened:
            return
        self._summed_up.add(found.stage)
        data = found.opened.surroundings.inspection.data
        if self._setup.is_walk:
            optimum = self._collected.optimum(found)
            yield from walk_lines.indented([walk_lines.optimum_line(optimum, found.stage.naming)])
            if optimum is not None:
                yield from walk_lines.indented(epoch_lines(data, optimum))
            return
        objective, naming = self._setup.output.objective, found.stage.naming
        has_one = self._setup.has_one_profile
        answer = trial_lines.summary(
            found.results,
            objective,
            found.selected,
            found.stopped,
            naming,
            data,
            None if has_one else found.stage.name,
            found.soaks,
        )
        if not has_one:
            yield from ("", *answer)
            return
        first = list(answer)
        rest = [
            list(failure_lines(found.results, naming, room)),
            list(not_run_lines(found.results)),
        ]
        others = len(first) + sum(len(lines) + 1 for lines in rest if lines) + _LINES_AFTERWARDS
        table = list(configuration_lines(found.remaining, objective, naming, room, others))
        for lines in (first, table, *rest):
            if lines is not first and lines:
                yield ""
            yield from lines

    def soak_begins(self, stage: Stage, config: LoraConfig) -> str:
        """The line of a soak that begins."""
        name = stage.naming.name(config)
        return trial_lines.begin_line(self._soak_title(stage), name, self._setup.soak_s or 0)

    def soak_ended(self, stage: Stage, result: SoakResult) -> str:
        """The line of a soak that ended."""
        return trial_lines.soak_line(
            self._soak_title(stage), stage.naming.name(result.config), result
        )

    def soaked(self, stage: Stage) -> Iterator[str]:
        """The optimum after a model's soaks, if they changed it."""
        found = self._collected.stages[stage]
        if stage in self._summed_up and not all(each.success for each in found.soaks):
            optimum = self._collected.optimum(found)
            name = stage.naming.name(optimum.config) if optimum else "none, all failed their soak"
            yield f"Optimal for {stage.name}, after the soak: {name}"

    def _soak_title(self, stage: Stage) -> str:
        return "Soak" if self._setup.has_one_profile else f"Soak of {stage.name}"

    def summary(self) -> Iterator[str]:
        """The summary of the run, as far as the terminal has room for it."""
        room = self._room()
        if self._collected.is_soaking:
            yield "Incomplete: a soak was broken off"
        closing = [
            line for found in self._collected.stages.values() for line in self._closing(found, room)
        ]
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
        backend, limit_bytes = "", self._setup.output.memory_limit_bytes
        for stage in self._setup.stages:
            predictor = static_predictor(stage.setup.plan) if stage.setup else None
            for item_id, config in stage.configs_by_id.items():
                if item_id not in ids:
                    continue
                prediction = predictor and predictor.predict(config or stage.assumed_config)
                found[item_id] = prediction or _why_unknown(stage)
            if stage.setup is not None and predictor is not None:
                recording = stage.setup.plan.recording
                recorded_bytes = recording.memory_limit_bytes if recording else None
                backend = predictor.backend
                limit_bytes = self._setup.output.memory_limit_bytes or recorded_bytes
        yield from trial_lines.predictions(found, backend, limit_bytes)


def _why_unknown(stage: Stage) -> str:
    if stage.problem is None:
        return "unknown: it cannot be estimated"
    return f"{stage.problem.outcome}: {stage.problem.reason}"


def _device(opened: StageInfo) -> str:
    device = opened.surroundings.device
    return f"{device.name} ({device.backend}), MLX {device.mlx_version}"

"""From options to a run: which models, in which order, and what is known of each beforehand."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections import Counter
from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_yourai.config import LoraConfig
from pytest_yourai.errors import ModelError, OptionError, UnavailableError
from pytest_yourai.memory.budget import BUDGET_SHARE
from pytest_yourai.memory.system import read_system_memory
from pytest_yourai.models import (
    DEFAULT_MAX_SEQ_LENGTH,
    Model,
    NamedModel,
    id_name,
    resolve,
    unknown_model,
    usual_max_seq_length,
)
from pytest_yourai.plan import SweepSetup, Usual, make_setup
from pytest_yourai.presets import Preset, read_presets
from pytest_yourai.recording import Recording, read_recording
from pytest_yourai.results import Outcome
from pytest_yourai.safe import read_safe_table
from pytest_yourai.units import parameter_count

if TYPE_CHECKING:
    from pytest_yourai.options import Options


@dataclass(frozen=True)
class Problem:
    """Why a model cannot be tried, known beforehand."""

    outcome: Outcome
    reason: str


@dataclass(frozen=True, eq=False)
class Stage:
    """One model's part of a run: its sweep, or the check of its safe configuration.

    `setup` is None where there is a `problem`. `rows` has the length and checkpointing that a check
    is asked for.
    """

    name: str
    title: str
    parameters: float | None
    is_check: bool
    setup: SweepSetup | None
    rows: LoraConfig
    problem: Problem | None = None
    memory_limit_bytes: int | None = None
    """The budget that the user names."""
    usual_max_seq_length: int = DEFAULT_MAX_SEQ_LENGTH

    @cached_property
    def assumed_config(self) -> LoraConfig:
        """What would be safe, before a worker has looked at the model and the machine."""
        limit_bytes = self.memory_limit_bytes or read_system_memory().usable_bytes * BUDGET_SHARE
        return read_safe_table().configuration(
            self.parameters or 0,
            limit_bytes,
            depth=self.setup.plan.depth if self.setup else None,
            max_seq_length=self.rows.max_seq_length,
            grad_checkpoint=self.rows.grad_checkpoint,
        )

    @cached_property
    def configs_by_id(self) -> Mapping[str, LoraConfig | None]:
        """Item id → configuration; None for one that is not known yet."""
        if self.setup is not None:
            return self.setup.configs_by_id
        return {
            f"{self.name}{Usual(self.usual_max_seq_length, None).suffix(self.rows, None)}": None
        }


@dataclass(frozen=True)
class RunSetup:
    """All that is known before anything runs: the stages, in the order of the run."""

    options: Options
    stages: tuple[Stage, ...]

    @property
    def is_walk(self) -> bool:
        """Whether models are tried until one does not fit."""
        return self.options.benchmark

    @property
    def has_one_profile(self) -> bool:
        """Whether the answer is the profile of one model."""
        return len(self.stages) == 1 and not self.is_walk

    def stage_called(self, name: str, *, is_check: bool) -> Stage:
        return next(each for each in self.stages if (each.name, each.is_check) == (name, is_check))

    @cached_property
    def stages_by_id(self) -> Mapping[str, Stage]:
        """Item id → stage."""
        return {item_id: stage for stage in self.stages for item_id in stage.configs_by_id}

    @cached_property
    def soaked_by_id(self) -> Mapping[str, Stage]:
        """Item id → the sweep that a soak follows; empty where none was asked for."""
        if self.options.soak_s is None or self.options.replay is not None:
            return {}
        return {f"{stage.name}-soak": stage for stage in self.stages if not stage.is_check}


def make_run(options: Options) -> RunSetup:
    """An InputError where the options do not lead to a run."""
    _check_combinations(options)
    _check_files(options)
    presets = read_presets(options.presets)
    if options.replay is not None and not options.benchmark:
        return RunSetup(options, (_replayed(options, options.replay, presets),))
    stages = sorted(
        _stages(options, presets),
        key=lambda stage: math.inf if stage.parameters is None else stage.parameters,
    )
    if not stages:
        raise OptionError(f"--yourai-benchmark: {options.presets} has no model to walk: add one")
    if options.benchmark and options.optimize:
        stages = [each for stage in stages for each in _check_and_sweep(options, stage)]
    _check_ids(stages)
    return RunSetup(options, tuple(stages))


def _stages(options: Options, presets: Mapping[str, Preset]) -> Iterator[Stage]:
    """A sweep, or in a walk a check, of every model that was named; else of all presets."""
    taken: set[str] = set()
    walked = [NamedModel(name, Path(name)) for name, each in presets.items() if each.in_walk]
    for named in options.models or walked:
        try:
            model = resolve(named.name, named.folder, options.weights, presets)
            name = _own_name(model.name, taken)
            stage = _stage(options, dataclasses.replace(model, name=name))
        except ModelError as problem:
            if options.models:
                raise
            stage = _unavailable(options, presets[named.name], problem, taken)
        taken.add(stage.name)
        yield stage


def _unavailable(
    options: Options, preset: Preset, problem: ModelError, taken: Container[str]
) -> Stage:
    is_there = not isinstance(problem, UnavailableError)
    usual = usual_max_seq_length(preset)
    return Stage(
        name=_own_name(id_name(preset.name), taken),
        title=preset.title,
        parameters=parameter_count(preset.params) if preset.params else None,
        is_check=True,
        setup=None,
        rows=_rows(options, usual),
        problem=Problem(Outcome.ERROR if is_there else Outcome.UNAVAILABLE, str(problem)),
        memory_limit_bytes=options.memory_limit_bytes,
        usual_max_seq_length=usual,
    )


def _rows(options: Options, usual: int) -> LoraConfig:
    lengths = options.max_seq_lengths or (usual,)
    return LoraConfig(1, 1, 1, min(lengths), grad_checkpoint=options.grad_checkpoint or False)


def _stage(options: Options, model: Model, recording: Recording | None = None) -> Stage:
    is_check = options.benchmark
    setup = make_setup(options, model, recording, is_check=is_check)
    usual = model.usual_max_seq_length
    return Stage(
        name=model.name,
        title=model.title,
        parameters=model.parameters,
        is_check=is_check,
        setup=setup,
        rows=setup.plan.check.rows if setup.plan.check else _rows(options, usual),
        memory_limit_bytes=options.memory_limit_bytes,
        usual_max_seq_length=usual,
    )


def _check_and_sweep(options: Options, check: Stage) -> Iterator[Stage]:
    yield check
    if check.setup is not None:
        sweep = make_setup(options, check.setup.model)
        yield dataclasses.replace(check, is_check=False, setup=sweep)


def _own_name(name: str, taken: Container[str]) -> str:
    """A second model of the same name becomes NAME-2."""
    names = itertools.chain([name], (f"{name}-{number}" for number in itertools.count(2)))
    return next(each for each in names if each not in taken)


def _check_ids(stages: Iterable[Stage]) -> None:
    """No item may stand for two models."""
    counts = Counter(item_id for stage in stages for item_id in stage.configs_by_id)
    [(item_id, count)] = counts.most_common(1)
    if count > 1:
        raise OptionError(
            f"two models have an item of the same name, {item_id}: give one of them another name"
        )


def _replayed(options: Options, replayed: Path, presets: Mapping[str, Preset]) -> Stage:
    """A sweep of the model that was recorded, also one that nothing else is known of."""
    named = next(iter(options.models), None)
    usual = usual_max_seq_length(presets.get(named.name) if named else None)
    lengths = options.max_seq_lengths or ()
    recording = read_recording(replayed, lengths[0] if len(lengths) == 1 else usual)
    if named is None and recording.model not in presets:
        return _stage(options, unknown_model(recording.model), recording)
    named = named or NamedModel(recording.model, Path(recording.model))
    model = resolve(named.name, named.folder, options.weights, presets)
    if model.name != id_name(recording.model):
        raise OptionError(
            f"--yourai-replay: {recording.name} is of {recording.model}, not of {model.name}: "
            "leave --yourai-model out, or name another recording"
        )
    return _stage(options, model, recording)


def _check_combinations(options: Options) -> None:
    """What was asked for at once must go together; an ini key that says nothing here may stay."""
    given = options.given
    if "optimize" in given and options.optimize and not options.benchmark:
        raise OptionError("--yourai-optimize needs --yourai-benchmark: add it, or leave it out")
    if options.benchmark and not options.optimize and given & {"quick", "matrix"}:
        raise OptionError(
            "--quick and --yourai-matrix are of sweeps: add --yourai-optimize to sweep the models "
            "that pass, or leave them out"
        )
    if "lora-config" in given and options.benchmark and not options.optimize:
        raise OptionError(
            "--yourai-lora-config: --yourai-benchmark alone finds no best configuration: add "
            "--yourai-optimize, or leave it out"
        )
    if "soak" in given and options.benchmark and not options.optimize:
        raise OptionError(
            "--yourai-soak: --yourai-benchmark alone finds no best configuration to train on with: "
            "add --yourai-optimize, or leave it out"
        )
    if "soak" in given and options.replay is not None:
        raise OptionError("--yourai-soak: a replay trains nothing: leave one of the two out")
    has_several = options.benchmark or len(options.models) > 1
    if has_several and ("replay" in given or (options.replay and not options.benchmark)):
        raise OptionError(
            "--yourai-replay: a recording is of one model: leave --yourai-benchmark and further "
            "models out"
        )
    names = Counter(str(named.folder.resolve()) for named in options.models)
    for named in options.models:
        if names[str(named.folder.resolve())] > 1:
            raise OptionError(f"--yourai-model: {named.name} is named twice: name it once")


def _check_files(options: Options) -> None:
    """No file may be written that is another one, or read."""
    written = {
        "output": options.output,
        "log": options.log,
        "lora-config": options.lora_config,
    }
    paths = {name: path.resolve() for name, path in written.items() if path}
    for (name, path), (other, other_path) in itertools.combinations(paths.items(), 2):
        if path == other_path:
            raise OptionError(f"--yourai-{name} and --yourai-{other} are one file: name two")
    read = {"replay": options.replay, "matrix": options.matrix, "models": options.presets}
    for name, read_path in read.items():
        for other, path in paths.items():
            if read_path and read_path.resolve() == path:
                raise OptionError(
                    f"--yourai-{name} and --yourai-{other} are one file: name another {other}, or "
                    "what is read would be lost"
                )
    if options.replay is not None and options.resume:
        raise OptionError("--yourai-resume: a replay measures nothing to go on with: leave it out")

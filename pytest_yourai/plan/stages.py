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

from pytest_yourai.core.config import DEFAULT_MAX_SEQ_LENGTH, LoraConfig
from pytest_yourai.core.errors import ModelError, OptionError, UnavailableError
from pytest_yourai.core.labels import ConfigLabels, id_name
from pytest_yourai.core.results import Outcome
from pytest_yourai.core.units import parameter_count
from pytest_yourai.machine.budget import BUDGET_SHARE
from pytest_yourai.machine.system_memory import read_system_memory
from pytest_yourai.models.presets import Preset, read_presets
from pytest_yourai.models.resolve import (
    Model,
    NamedModel,
    resolve,
    unknown_model,
    usual_max_seq_length,
)
from pytest_yourai.plan.options import Options, check_combinations, check_files
from pytest_yourai.plan.planner import ModelDefaults, SweepSetup, checked_rows, make_setup
from pytest_yourai.plan.safe_table import read_safe_table
from pytest_yourai.store.compare.baseline import read_baseline
from pytest_yourai.store.recording import read_recording
from pytest_yourai.store.stored_profile import StoredProfile


@dataclass(frozen=True)
class StageProblem:
    """Why a model cannot be tried, known beforehand."""

    outcome: Outcome
    reason: str


@dataclass(frozen=True, eq=False)
class Stage:
    """One model's part of a run: its sweep, or the check of its safe configuration.

    `name` is that of its items, `asked_as` what the user calls the model. `setup` is None where
    there is a `problem`. `rows` has the length and checkpointing that a check
    is asked for.
    """

    name: str
    asked_as: str
    title: str
    parameters: float | None
    is_check: bool
    setup: SweepSetup | None
    rows: LoraConfig
    problem: StageProblem | None = None
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

    @property
    def naming(self) -> ConfigLabels:
        """How its configurations are named in words."""
        if self.is_check:
            return ConfigLabels(self.usual_max_seq_length, grad_checkpoint=False)
        return self.setup.plan.naming if self.setup else ConfigLabels.of(())

    @property
    def max_seq_lengths(self) -> set[int]:
        """Of all that it tries, in tokens."""
        configs = (self.rows,) if self.is_check or not self.setup else self.setup.plan.configs
        return {config.max_seq_length for config in configs}

    @cached_property
    def configs_by_id(self) -> Mapping[str, LoraConfig | None]:
        """Item id → configuration; None for one that is not known yet."""
        if self.setup is not None:
            return self.setup.configs_by_id
        suffix = ModelDefaults(self.usual_max_seq_length, None).suffix(self.rows, None)
        return {f"{self.name}{suffix}": None}


@dataclass(frozen=True)
class RunPlan:
    """All that is known before anything runs: the stages, in the order of the run."""

    options: Options
    stages: tuple[Stage, ...]
    baseline: tuple[StoredProfile, ...] = ()
    """What the run is to be compared with."""

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


def make_run_plan(options: Options) -> RunPlan:
    """An InputError where the options do not lead to a run."""
    check_combinations(options)
    check_files(options)
    presets = read_presets(options.presets)
    if options.replay is not None and not options.benchmark:
        stages = [_replayed(options, options.replay, presets)]
        return _compared(RunPlan(options, tuple(stages)))
    stages = sorted(
        _stages(options, presets),
        key=lambda stage: math.inf if stage.parameters is None else stage.parameters,
    )
    if not stages:
        raise OptionError(f"--yourai-benchmark: {options.presets} has no model to walk: add one")
    if options.benchmark and options.optimize:
        stages = [each for stage in stages for each in _check_and_sweep(options, stage)]
    _check_ids(stages)
    return _compared(RunPlan(options, tuple(stages)))


def _compared(setup: RunPlan) -> RunPlan:
    """With what it is to be compared with, if anything."""
    path = setup.options.compare
    if path is None:
        return setup
    models = list(dict.fromkeys(stage.name for stage in setup.stages))
    return dataclasses.replace(setup, baseline=read_baseline(path, models))


def _stages(options: Options, presets: Mapping[str, Preset]) -> Iterator[Stage]:
    """A sweep, or in a walk a check, of every model that was named; else of all presets."""
    taken: set[str] = set()
    walked = [NamedModel(name, Path(name)) for name, each in presets.items() if each.in_walk]
    for named in options.models or walked:
        try:
            model = resolve(named.name, named.folder, options.weights, presets)
            name = _own_name(model.name, taken)
            stage = _stage(options, named.name, dataclasses.replace(model, name=name))
        except ModelError as problem:
            if options.models:
                raise
            stage = _unavailable(options, named, presets, problem, taken)
        taken.add(stage.name)
        yield stage


def _unavailable(
    options: Options,
    named: NamedModel,
    presets: Mapping[str, Preset],
    problem: ModelError,
    taken: Container[str],
) -> Stage:
    preset = presets[named.name]
    is_there = not isinstance(problem, UnavailableError)
    usual = usual_max_seq_length(preset)
    return Stage(
        name=_own_name(id_name(preset.name), taken),
        asked_as=named.name,
        title=preset.title,
        parameters=_size(named, presets),
        is_check=True,
        setup=None,
        rows=_rows(options, usual),
        problem=StageProblem(Outcome.ERROR if is_there else Outcome.UNAVAILABLE, str(problem)),
        memory_limit_bytes=options.memory_limit_bytes,
        usual_max_seq_length=usual,
    )


def _size(named: NamedModel, presets: Mapping[str, Preset]) -> float | None:
    """Number of parameters of a model that cannot be tried: as it is called by, else by shapes."""
    params = presets[named.name].params
    if params is not None:
        return parameter_count(params)
    try:
        return resolve(named.name, named.folder, "synthetic", presets).parameters
    except ModelError:
        return None


def _rows(options: Options, usual: int) -> LoraConfig:
    checkpoints = (options.grad_checkpoint or False,)
    return checked_rows(options, options.max_seq_lengths or (usual,), checkpoints)


def _stage(
    options: Options, asked_as: str, model: Model, recording: StoredProfile | None = None
) -> Stage:
    is_check = options.benchmark
    setup = make_setup(options, model, recording, is_check=is_check)
    usual = model.usual_max_seq_length
    return Stage(
        name=model.name,
        asked_as=asked_as,
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
        return _stage(options, recording.model, unknown_model(recording.model), recording)
    named = named or NamedModel(recording.model, Path(recording.model))
    model = resolve(named.name, named.folder, options.weights, presets)
    if model.name != id_name(recording.model):
        raise OptionError(
            f"--yourai-replay: {recording.name} is of {recording.model}, not of {model.name}: "
            "leave --yourai-model out, or name another recording"
        )
    return _stage(options, named.name, model, recording)

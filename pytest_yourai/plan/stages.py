"""The plan of a run: its stages, one model after the other.

Three steps lead there: `resolved_models` finds the models, `config_choice` chooses configurations
for each, and `planner` makes the plan of its sweep or check.
"""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from pytest_yourai.core.axes import (
    BATCH_SIZE,
    GRAD_CHECKPOINT,
    LORA_KEYS,
    MAX_SEQ_LENGTH,
    SIZES,
    VARIANTS,
)
from pytest_yourai.core.config import DEFAULT_MAX_SEQ_LENGTH, LoraConfig
from pytest_yourai.core.errors import ModelError, OptionError
from pytest_yourai.core.labels import ConfigLabels, id_name
from pytest_yourai.machine.budget import BUDGET_SHARE
from pytest_yourai.machine.system_memory import read_system_memory
from pytest_yourai.models.model import Model, NamedModel
from pytest_yourai.models.presets import Preset, read_presets
from pytest_yourai.models.resolve import resolve
from pytest_yourai.plan.config_choice import ConfigChoice, choose_configs
from pytest_yourai.plan.matrix import dividing
from pytest_yourai.plan.options import Options, check_combinations, check_files
from pytest_yourai.plan.planner import SweepSetup, plan_model
from pytest_yourai.plan.resolved_models import (
    ResolvedModel,
    StageProblem,
    resolve_models,
)
from pytest_yourai.plan.safe_table import SAFE_KEYS, safe_config
from pytest_yourai.plan.sweep_plan import SafeCheck
from pytest_yourai.store.compare.baseline import read_baseline
from pytest_yourai.store.recording import read_recording
from pytest_yourai.store.stored_profile import StoredProfile


@dataclass(frozen=True, eq=False)
class Stage:
    """One model's part of a run: its sweep, or the `check` of its safe configuration.

    `asked_as` is the user's name for the model. `setup` is None if there is a `problem`.
    """

    asked_as: str
    model: Model
    setup: SweepSetup | None
    check: SafeCheck | None
    assumed_config: LoraConfig
    """The safe configuration, as far as it is known before a worker has inspected the model."""
    problem: StageProblem | None = None

    @property
    def name(self) -> str:
        """The beginning of the ids of its items."""
        return self.model.name

    @property
    def is_check(self) -> bool:
        """True for a check, False for a sweep."""
        return self.check is not None

    @cached_property
    def parameters(self) -> float | None:
        """The model's number of parameters; None if it is not known."""
        return self.model.parameters

    @cached_property
    def naming(self) -> ConfigLabels:
        """Names for its configurations."""
        if self.check is not None:
            return ConfigLabels.of([self._usual])
        return ConfigLabels.of(self._configs)

    @property
    def max_seq_lengths(self) -> set[int]:
        """All sequence lengths that it tries, in tokens."""
        if self.check is not None:
            return {self.check.like.max_seq_length}
        return {config.max_seq_length for config in self._configs}

    @cached_property
    def configs_by_id(self) -> Mapping[str, LoraConfig | None]:
        """Item id → configuration, in the order of the run; None for a check, not known yet."""
        if self.check is not None:
            variants = self._id_variants(self.check.like)
            return {"-".join((self.name, *variants, *self._id_ranks)): None}
        return {
            "-".join(
                (
                    self.name,
                    *self._id_sizes(config),
                    *self._id_variants(config),
                    *self._id_ranks,
                )
            ): config
            for config in self._configs
        }

    @property
    def _configs(self) -> tuple[LoraConfig, ...]:
        return self.setup.plan.configs if self.setup else ()

    @cached_property
    def _usual(self) -> LoraConfig:
        """The variants that ids and labels leave out."""
        return LoraConfig(1, 1, 1, self.model.default_max_seq_length, lora_keys=self._usual_keys)

    @property
    def _usual_keys(self) -> str:
        """What all configurations adapt, or else the packaged matrices."""
        chosen = {each.lora_keys for each in self._configs if LORA_KEYS.applies_to(each)}
        return chosen.pop() if len(chosen) == 1 else SAFE_KEYS

    @property
    def _id_ranks(self) -> tuple[str, ...]:
        """The end of an item id where several ranks train together: `x2`."""
        ranks = self.setup.plan.settings.ranks if self.setup else 1
        return () if ranks == 1 else (f"x{ranks}",)

    @staticmethod
    def _id_sizes(config: LoraConfig) -> Iterator[str]:
        """The parts of an item id that each configuration has."""
        return (axis.id_part(config) for axis in SIZES if axis.applies_to(config))

    def _id_variants(self, config: LoraConfig) -> Iterator[str]:
        """The parts of an item id that name differences from the model's defaults."""
        for axis in VARIANTS:
            if axis is GRAD_CHECKPOINT and self.setup is not None:
                quantization = self.setup.plan.source.quantization
                if quantization != self.model.quantization(None):
                    yield f"q{quantization.bits}" if quantization else "qnone"
            if axis.applies_to(config) and axis.of(config) != axis.of(self._usual):
                yield axis.id_part(config)


@dataclass(frozen=True)
class RunPlan:
    """The stages of a run, in order, and the options that they follow from."""

    stages: tuple[Stage, ...]
    options: Options
    baseline: tuple[StoredProfile, ...] = ()
    """The profiles to compare the run with."""

    @property
    def is_walk(self) -> bool:
        """True if models are tried, smallest first, until one does not fit."""
        return self.options.benchmark

    @property
    def has_one_profile(self) -> bool:
        """True if the run ends with the profile of one model."""
        return len(self.stages) == 1 and not self.is_walk

    def stage_called(self, name: str, *, is_check: bool) -> Stage:
        """The check or the sweep of the model called `name`."""
        return next(each for each in self.stages if (each.name, each.is_check) == (name, is_check))

    @cached_property
    def stages_by_id(self) -> Mapping[str, Stage]:
        """Item id → stage."""
        return {item_id: stage for stage in self.stages for item_id in stage.configs_by_id}

    @cached_property
    def soaked_by_id(self) -> Mapping[str, Stage]:
        """Item id of a soak → the sweep that it follows; empty if no soak was asked for."""
        if self.options.soak_s is None or self.options.is_replay:
            return {}
        return {f"{stage.name}-soak": stage for stage in self.stages if not stage.is_check}


def make_run_plan(options: Options) -> RunPlan:
    """The plan of the run that `options` ask for; an InputError if they do not lead to one."""
    check_combinations(options)
    check_files(options)
    presets = read_presets(options.presets)
    if options.replay is not None and not options.benchmark:
        stages = [_replay_stage(options, options.replay, presets)]
    else:
        models = resolve_models(options, presets)
        stages = [stage for each in models for stage in _stages(each, options)]
        stages.sort(key=lambda each: math.inf if each.parameters is None else each.parameters)
    if not stages:
        raise OptionError(f"--yourai-benchmark: {options.presets} has no model to walk: add one")
    _check_ids(stages)
    names = list(dict.fromkeys(stage.name for stage in stages))
    settings = next((each.setup.plan.settings for each in stages if each.setup), None)
    compare = options.compare
    return RunPlan(
        stages=tuple(stages),
        options=options,
        baseline=() if compare is None else read_baseline(compare, names, settings),
    )


def _stages(found: ResolvedModel, options: Options) -> Iterator[Stage]:
    """The sweep of a model; in a walk its check, and the sweep after that if it is asked for."""
    choice = choose_configs(found.model, options)
    stage = _unplanned(found, choice, options)
    if options.benchmark:
        stage = _planned_check(stage, choice, options)
        yield stage
        if stage.setup is None or not options.optimize:
            return
    yield _planned_sweep(stage, choice, options)


def _unplanned(found: ResolvedModel, choice: ConfigChoice, options: Options) -> Stage:
    """The stage with its check, and without a setup."""
    model = found.model
    like = choice.checked(model, is_before_sweep=options.optimize)
    fixed = choice.fixed_sizes
    ranks = options.hosts.world_size if options.hosts and choice.recording is None else 1
    check = SafeCheck(model.parameters, like, choice.effective_batch_size, fixed, ranks)
    limit_bytes = options.memory_limit_bytes or read_system_memory().usable_bytes * BUDGET_SHARE
    assumed = safe_config(
        check.parameters or 0,
        limit_bytes,
        depth=model.depth,
        like=like,
        fixed=fixed,
        ranks=ranks,
    )
    return Stage(found.asked_as, model, None, check, assumed, found.problem)


def _planned_check(stage: Stage, choice: ConfigChoice, options: Options) -> Stage:
    if stage.problem is not None:
        return stage
    if choice.effective_batch_size is not None and BATCH_SIZE.name in choice.fixed_sizes:
        dividing(choice.axes[BATCH_SIZE.name], choice.effective_batch_size)
    try:
        setup = plan_model(stage.model, choice, options, stage.check)
    except ModelError as contradiction:
        if options.models:
            raise
        return dataclasses.replace(stage, problem=StageProblem.of(contradiction))
    return dataclasses.replace(stage, setup=setup)


def _planned_sweep(stage: Stage, choice: ConfigChoice, options: Options) -> Stage:
    return dataclasses.replace(stage, check=None, setup=plan_model(stage.model, choice, options))


def _replay_stage(options: Options, path: Path, presets: Mapping[str, Preset]) -> Stage:
    """A sweep of the recorded model, even if nothing else is known about it."""
    named = next(iter(options.models), None)
    default = DEFAULT_MAX_SEQ_LENGTH
    if named is not None:
        default = Model.known(named.name, presets.get(named.name)).default_max_seq_length
    lengths = options.axes.get(MAX_SEQ_LENGTH.name, ())
    recording = read_recording(path, lengths[0] if len(lengths) == 1 else default)
    is_known = named is not None or recording.model in presets
    named = named or NamedModel(recording.model, Path(recording.model))
    if is_known:
        model = resolve(named.name, named.folder, options.weights, presets, options.quantize)
    else:
        model = Model.known(recording.model)
    if model.name != id_name(recording.model):
        raise OptionError(
            f"--yourai-replay: {recording.name} is of {recording.model}, not of {model.name}: "
            "leave --yourai-model out, or name another recording"
        )
    choice = choose_configs(model, options, recording)
    stage = _unplanned(ResolvedModel(named.name, model), choice, options)
    return _planned_sweep(stage, choice, options)


def _check_ids(stages: Iterable[Stage]) -> None:
    """OptionError if two models would have an item of the same id."""
    counts = Counter(item_id for stage in stages for item_id in stage.configs_by_id)
    [(item_id, count)] = counts.most_common(1)
    if count > 1:
        raise OptionError(
            f"two models have an item of the same name, {item_id}: give one of them another name"
        )

"""Which models fit, by estimate alone: nothing is run, and MLX reads training data at most."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pytest_yourai.core.axes import AXES, BATCH_SIZE
from pytest_yourai.core.config import SAFETY_MARGIN, LoraConfig
from pytest_yourai.core.device import Backend
from pytest_yourai.core.errors import ModelError
from pytest_yourai.core.hosts import HostGroup, rank_share
from pytest_yourai.core.recipe import Recipe
from pytest_yourai.core.units import machine_memory, plural
from pytest_yourai.estimate.memory_estimate import MemoryEstimate
from pytest_yourai.estimate.shorter_rows import shorter_rows
from pytest_yourai.estimate.training_memory import estimate_trial
from pytest_yourai.machine.budget import Budget, detect_budget
from pytest_yourai.machine.environment import chip, installed_backend
from pytest_yourai.machine.system_memory import read_system_memory
from pytest_yourai.models.architecture_reader import read_architecture_shapes
from pytest_yourai.models.dataset_lengths import TrainingData, padded_length
from pytest_yourai.models.known_config import unknown_type
from pytest_yourai.models.model import Model, NamedModel
from pytest_yourai.models.presets import read_presets
from pytest_yourai.models.resolve import resolve
from pytest_yourai.models.source import ModelSource, RowReading
from pytest_yourai.plan.config_choice import ConfigChoice, choose_configs
from pytest_yourai.plan.matrix import combinations, divided_by, dividing, evenly_accumulated
from pytest_yourai.plan.nearest_fits import nearest_fits
from pytest_yourai.plan.options import Options
from pytest_yourai.plan.recommendation import Recommendation, Recommendations, Verdict
from pytest_yourai.plan.safe_table import safe_config
from pytest_yourai.plan.scaling import Scaler, base_of, read_measured
from pytest_yourai.store.recording import backend_of

ReadRows = Callable[[ModelSource, str, RowReading], TrainingData]
"""Reads data with the tokenizer of a model; InputError where it cannot be read."""


def recommend(options: Options, read_rows: ReadRows | None = None) -> Recommendations:
    """Estimates for the models that `options` name, or for all presets.

    With `read_rows` rows are as long as those of the data that a flag names. Models that cannot be
    estimated are left out; InputError if that leaves none.
    """
    presets = read_presets(options.presets)
    named = options.models or [NamedModel(name, Path(name)) for name in presets]
    backend = installed_backend()
    budget, machine = find_budget(options), None
    if budget.is_detected:
        machine = f"{chip()}, {machine_memory(read_system_memory().total_bytes)}"
    models: list[Recommendation] = []
    problems: dict[str, ModelError] = {}
    for each in named:
        try:
            model = resolve(each.name, each.folder, options.weights, presets, options.quantize)
            models.append(
                recommend_model(each.name, model, options, budget.limit_bytes, backend, read_rows)
            )
        except ModelError as problem:
            problems[each.name] = problem
    if not models:
        raise next(iter(problems.values()))
    return Recommendations(
        budget=budget,
        machine=machine,
        backend=backend,
        models=tuple(models),
        left_out={name: str(problem) for name, problem in problems.items()},
    )


def find_budget(options: Options) -> Budget:
    """The user's as it is, since it may be that of a larger machine, else this machine's.

    Of several machines it is that of each: ranks of one, which a sweep starts, may share it.
    """
    if options.memory_limit_bytes is not None:
        found = Budget(options.memory_limit_bytes, "as given")
    else:
        found = detect_budget(read_system_memory(), None)
    if options.hosts is None:
        return found
    reason = f"{found.reason}, on each of {options.hosts.world_size} machines"
    return dataclasses.replace(found, reason=reason)


def recommend_model(
    asked_as: str,
    model: Model,
    options: Options,
    limit_bytes: int,
    backend: Backend,
    read_rows: ReadRows | None = None,
) -> Recommendation:
    """The best of what `options` ask for that fits `model` within the limit, or what does instead.

    ModelError where it cannot be estimated.
    """
    if unknown := unknown_type(model.architecture):
        raise ModelError(
            f"the installed mlx-lm has no model type {unknown}: update it (pip install -U mlx-lm), "
            "or name another model"
        )
    quantization = model.quantization(options.quantize)
    choice = choose_configs(model, dataclasses.replace(options, benchmark=True, optimize=False))
    source = model.source(quantization, choice.lora_keys)
    asked = _asked(model, choice, options, limit_bytes)
    data = _data(model, source, choice, asked, options, read_rows)
    asked = _filled(asked, data)
    terms = _Terms(options, limit_bytes, backend, choice.recipe, data.longest if data else None)
    config, estimate, verdict = terms.best(asked, source)
    found = Recommendation(
        asked_as=asked_as,
        name=model.name,
        parameters=_parameters(model),
        config=config,
        quantization=quantization,
        estimate=estimate,
        verdict=verdict,
        data=data,
    )
    if found.verdict is Verdict.NO:
        found = terms.changed(found, asked[0], source)
    source = dataclasses.replace(source, quantization=found.quantization)
    if options.hosts is not None:
        found = terms.scaled(found, source, options.hosts)
    return found if data is None else terms.shortened(found, source, data)


@dataclass(frozen=True, slots=True)
class _Terms:
    """What all estimates for one model have in common; the row is the longest, in tokens."""

    options: Options
    limit_bytes: int
    backend: Backend
    recipe: Recipe
    longest_row: int | None

    @property
    def ranks(self) -> int:
        return self.options.hosts.world_size if self.options.hosts else 1

    def estimate(self, config: LoraConfig, source: ModelSource) -> MemoryEstimate:
        """Of a rank's share of the longest batch that there is."""
        share = rank_share(config, self.ranks)
        if self.longest_row is not None:
            width = padded_length(self.longest_row, share.max_seq_length)
            share = dataclasses.replace(share, max_seq_length=width)
        return estimate_trial(share, source, self.backend, recipe=self.recipe)

    def best(
        self, asked: Sequence[LoraConfig], source: ModelSource
    ) -> tuple[LoraConfig, MemoryEstimate, Verdict]:
        """The last one of those that fit best."""
        estimates = [self.estimate(each, source) for each in asked]
        judged = [judge(each, self.limit_bytes) for each in estimates]
        best = max(range(len(asked)), key=lambda index: (-_ORDER.index(judged[index]), index))
        return asked[best], estimates[best], judged[best]

    def changed(
        self, found: Recommendation, asked: LoraConfig, source: ModelSource
    ) -> Recommendation:
        """What fits near `asked`, the lightest; `found` itself where nothing does."""
        nearest = functools.partial(
            nearest_fits,
            source,
            asked,
            self.limit_bytes,
            backend=self.backend,
            recipe=self.recipe,
            longest_row=self.longest_row,
            ranks=self.ranks,
        )
        fits = nearest(is_cautious=True) or nearest()
        if not fits:
            return found
        fit = fits[0]
        return dataclasses.replace(
            found,
            config=fit.config,
            quantization=fit.quantization,
            estimate=fit.estimate,
            verdict=judge(fit.estimate, self.limit_bytes),
            instead=fit,
            asked_bytes=self.estimate(asked, source).minimum_bytes,
        )

    def scaled(
        self, found: Recommendation, source: ModelSource, hosts: HostGroup
    ) -> Recommendation:
        """With a table for machines like the one of the profile, or like this one."""
        options, backend, limit_bytes = self.options, self.backend, self.limit_bytes
        measured = read_measured(options, found.name, source)
        if measured.alone is not None:
            backend = backend_of(measured.alone.environment)
            if options.memory_limit_bytes is None:
                limit_bytes = measured.alone.memory_limit_bytes or limit_bytes
        link = options.link_gbit
        scaler = Scaler(source, backend, self.recipe, hosts, measured, limit_bytes, link)
        base = base_of(found.config, self.ranks, options, measured.alone)
        return dataclasses.replace(found, scaling=scaler.table(base))

    def shortened(
        self, found: Recommendation, source: ModelSource, data: TrainingData
    ) -> Recommendation:
        """With what shorter rows would need."""

        def needs(config: LoraConfig) -> int:
            return self.estimate(config, source).minimum_bytes

        return dataclasses.replace(found, shorter=tuple(shorter_rows(data, found.config, needs)))


def _data(
    model: Model,
    source: ModelSource,
    choice: ConfigChoice,
    asked: Sequence[LoraConfig],
    options: Options,
    read_rows: ReadRows | None,
) -> TrainingData | None:
    """The rows that a flag names; those of a recipe are not read for an estimate.

    Nor are any without a tokenizer here: a preset that was never downloaded gets an answer, too.
    """
    has_tokenizer = model.folder is not None or model.weights == "hub"
    is_asked = has_tokenizer and not options.has_data_of_recipe
    if read_rows is None or options.data is None or not is_asked:
        return None
    model.require_tokenizer()
    longest = max(config.max_seq_length for config in asked)
    reading = RowReading.of(choice.recipe, longest, options.bad_rows)
    return read_rows(source, options.data, reading)


def _filled(asked: list[LoraConfig], data: TrainingData | None) -> list[LoraConfig]:
    """Those of `asked` that the rows make a batch of; ModelError where none is."""
    filled = [each for each in asked if data is None or each.batch_size <= data.rows]
    if data is not None and not filled:
        least = min(each.batch_size for each in asked)
        raise ModelError(
            f"--yourai-data: {plural(data.rows, 'row')} cannot fill a batch of {least}: add rows, "
            "or make --yourai-batch-size smaller"
        )
    return filled


def _asked(
    model: Model, choice: ConfigChoice, options: Options, limit_bytes: int
) -> list[LoraConfig]:
    """The configurations that were asked for, lightest first: what flags leave open is safe."""
    depth = read_architecture_shapes(model.architecture).num_hidden_layers
    ranks = options.hosts.world_size if options.hosts else 1
    effective = choice.effective_batch_size
    safe = safe_config(
        _parameters(model),
        limit_bytes,
        depth=depth,
        like=choice.checked(model, is_before_sweep=False),
        ranks=ranks,
    )
    safe = evenly_accumulated(safe, effective, ranks)
    axes: dict[str, tuple[Any, ...]] = {axis.name: (axis.of(safe),) for axis in AXES}
    axes |= options.axes
    if effective is not None:
        axes[BATCH_SIZE.name] = dividing(axes[BATCH_SIZE.name], effective)
    axes[BATCH_SIZE.name] = divided_by(axes[BATCH_SIZE.name], ranks)
    return combinations(axes, depth, None, effective)


def _parameters(model: Model) -> float:
    return model.parameters or float(read_architecture_shapes(model.architecture).parameters)


_ORDER = tuple(Verdict)
"""Best first."""


def judge(estimate: MemoryEstimate, limit_bytes: int) -> Verdict:
    """The verdict within `limit_bytes`, with the safety margin of measured trials."""
    if estimate.conservative_bytes * SAFETY_MARGIN <= limit_bytes:
        return Verdict.FITS
    return Verdict.TIGHT if estimate.minimum_bytes * SAFETY_MARGIN <= limit_bytes else Verdict.NO

"""The third step of planning: from a model and its configurations to the plan of a sweep."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pytest_yourai.core import config as defaults
from pytest_yourai.core.axes import BATCH_SIZE, FINE_TUNE_TYPE, SIZES
from pytest_yourai.core.conditions import SweepSettings
from pytest_yourai.core.config import LoraConfig, StepPlan
from pytest_yourai.core.errors import OptionError
from pytest_yourai.core.paths import from_here, packaged_models
from pytest_yourai.core.recipe import recipe_settings
from pytest_yourai.models.model import Model
from pytest_yourai.models.source import ModelSource, RowReading
from pytest_yourai.models.trainable import check_trainable
from pytest_yourai.plan.config_choice import ConfigChoice
from pytest_yourai.plan.hosts import backend_here
from pytest_yourai.plan.identity import run_identity
from pytest_yourai.plan.matrix import divided_by
from pytest_yourai.plan.options import Options
from pytest_yourai.plan.sweep_plan import SafeCheck, SweepPlan
from pytest_yourai.store.stored_profile import StoredProfile

_MOST_SEARCHED = 1000
"""The fast search takes 0.2 s and 70 MB for so many configurations, growing with their square."""

_LONGEST_MEMORY_WAIT_S = 5.0


@dataclass(frozen=True)
class SweepSetup:
    """A model, the choice of its configurations, and the plan that follows."""

    model: Model
    choice: ConfigChoice
    plan: SweepPlan

    @property
    def weights(self) -> str:
        """Kind of the measured weights: `synthetic 4-bit`, `local, not quantized`."""
        how = self.plan.source.quantization or self.model.foreign_quantization
        return f"{self.model.weights} {how}" if how else f"{self.model.weights}, not quantized"


def plan_model(
    model: Model, choice: ConfigChoice, options: Options, check: SafeCheck | None = None
) -> SweepSetup:
    """A sweep of `model` through `choice`, or `check`; InputError if the options contradict it."""
    if options.data is not None:
        model.require_tokenizer()
    source = _source(model, choice, options)
    recipe_file = str(options.recipe_file.path) if options.recipe_file else None
    _check_trainable(choice, source, recipe_file)
    configs = () if check else choice.configs(model.depth)
    _check_searched(options, len(configs))
    steps = options.check_steps if check else options.steps
    tried = [check.like] if check else configs
    settings = _settings(options, model, source, steps, choice, tried)
    hosts = None if choice.recording else options.hosts
    if hosts is not None and (batch_sizes := choice.axes.get(BATCH_SIZE.name)):
        divided_by(batch_sizes, hosts.world_size)
    plan = SweepPlan(
        source=source,
        configs=configs,
        steps=steps,
        isolation=options.isolation,
        data=options.data,
        reading=RowReading.of(
            choice.recipe, max(config.max_seq_length for config in tried), options.bad_rows
        ),
        recipe=choice.recipe,
        recipe_file=recipe_file,
        memory_limit_bytes=options.memory_limit_bytes,
        compile_timeout_s=options.compile_timeout_s,
        start_timeout_s=options.worker_start_timeout_s,
        settings=settings,
        identity=run_identity(source, options.data, settings, hosts),
        force=options.force,
        memory_wait_s=min(_LONGEST_MEMORY_WAIT_S, (options.timeout_s or math.inf) / 4),
        search="exhaustive" if check else options.search,
        objective=options.objective,
        depth=model.depth,
        recording=choice.recording,
        check=check,
        effective_batch_size=choice.effective_batch_size,
        hosts=hosts,
    )
    return SweepSetup(model, choice, plan)


def _source(model: Model, choice: ConfigChoice, options: Options) -> ModelSource:
    return model.source(
        choice.quantization(model),
        choice.lora_keys,
        trust_remote_code=options.trust_remote_code,
        requires_lora_keys=choice.requires_lora_keys,
    )


def _check_trainable(choice: ConfigChoice, source: ModelSource, recipe_file: str | None) -> None:
    if choice.recording is not None:
        return
    origin = choice.origins.get(FINE_TUNE_TYPE.name)
    asked_by = f"--yourai-{FINE_TUNE_TYPE.flag}"
    if origin == "matrix" and choice.matrix is not None:
        asked_by = f"{choice.matrix.source}: {FINE_TUNE_TYPE.key}"
    elif origin == "recipe":
        asked_by = f"{recipe_file}: {FINE_TUNE_TYPE.key}"
    types = choice.axes.get(FINE_TUNE_TYPE.name, ())
    check_trainable(types, source, asked_by, "--yourai-quantize")


def _check_searched(options: Options, configs: int) -> None:
    if options.search == "fast" and configs > _MOST_SEARCHED:
        raise OptionError(
            f"--yourai-search=fast: {configs:,} configurations are more than "
            f"{_MOST_SEARCHED:,}: shorten the matrix, or run them all"
        )


def plan_downloaded(setup: SweepSetup, model: Model) -> SweepSetup:
    """`setup` for `model`, the same one once its weights are in a folder.

    The choice of the matrix stays, whatever memory is available by now. Depth and quantization
    are those of the folder; ModelError if they contradict what was asked for.
    """
    plan, choice = setup.plan, setup.choice
    source = dataclasses.replace(
        plan.source,
        architecture=model.architecture,
        folder=str(model.folder),
        synthetic=False,
        quantization=choice.quantization(model),
    )
    _check_trainable(choice, source, plan.recipe_file)
    settings = dataclasses.replace(
        plan.settings, weights="local", quantization=source.quantization or "none"
    )
    plan = dataclasses.replace(
        plan,
        source=source,
        configs=() if plan.check else choice.configs(model.depth),
        settings=settings,
        identity=run_identity(source, plan.data, settings, plan.hosts),
        depth=model.depth,
    )
    return SweepSetup(model, choice, plan)


def _settings(
    options: Options,
    model: Model,
    source: ModelSource,
    steps: StepPlan,
    choice: ConfigChoice,
    tried: Sequence[LoraConfig],
) -> SweepSettings:
    """The settings in the profile."""
    recording = choice.recording
    return SweepSettings(
        weights="synthetic" if source.synthetic else "local",
        quantization=source.quantization or "none",
        model=_named(model, options),
        presets_file=str(from_here(options.presets)) if _is_own_preset(model, options) else None,
        matrix=_matrix_name(choice),
        recipe_file=str(from_here(options.recipe_file.path)) if options.recipe_file else None,
        search=options.search,
        replay=recording.name if recording else None,
        peaks_stand_in_for_minima=recording is not None and not recording.has_minima,
        data=options.data,
        bad_rows="skip" if options.bad_rows == "skip" else None,
        measured_steps=steps.measured_steps,
        warmup_steps=steps.warmup_steps,
        safety_margin=defaults.SAFETY_MARGIN,
        isolation=options.isolation,
        timeout_s=options.timeout_s,
        **_ranks(options, recording),
        recipe=recipe_settings(choice.recipe, tried),
    )


def _ranks(options: Options, recording: StoredProfile | None) -> dict[str, Any]:
    """The ranks that train together, or did when it was recorded; nothing for one process."""
    if recording is not None:
        old = recording.settings
        return {"world_size": old.world_size, "distributed_backend": old.distributed_backend}
    if options.hosts is None:
        return {}
    backend = backend_here(options.hosts)
    return {"world_size": options.hosts.world_size, "distributed_backend": backend.value}


def _matrix_name(choice: ConfigChoice) -> str | None:
    """The matrix that sizes are from, and which of them flags name instead; None without any."""
    sizes = {axis.label: choice.origins.get(axis.name) for axis in SIZES}
    if choice.matrix is None or "matrix" not in sizes.values():
        return None
    of_flags = [label for label, origin in sizes.items() if origin == "flag"]
    name = choice.matrix.source.name
    return f"{name}, {' and '.join(of_flags)} by flag" if of_flags else name


def _is_own_preset(model: Model, options: Options) -> bool:
    return model.preset is not None and options.presets != packaged_models()


def _named(model: Model, options: Options) -> str | None:
    """What names a model that is no packaged preset, whose own name is enough."""
    if model.preset is not None and not _is_own_preset(model, options):
        return None
    if model.repo is not None or model.folder is None:
        return model.repo
    folder = from_here(model.folder)
    # One word may be the name of a preset, and two that of a repository.
    return str(folder) if folder.is_absolute() else f"./{folder}"

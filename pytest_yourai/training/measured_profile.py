"""The profile to train with: its configuration, and its conditions compared with the run's."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import psutil

from pytest_yourai.core.answers import Pick, find_answers, headline
from pytest_yourai.core.axes import AXES, NUM_LAYERS, Axis, value_text
from pytest_yourai.core.conditions import Environment, SweepSettings
from pytest_yourai.core.config import (
    ALL_KEYS,
    ALL_LAYERS,
    KEY_SETS,
    Quantization,
    comparable_keys,
)
from pytest_yourai.core.errors import RecordingError
from pytest_yourai.core.labels import id_name
from pytest_yourai.core.module_sets import members
from pytest_yourai.core.paths import given_path
from pytest_yourai.core.results import TrialResult
from pytest_yourai.core.units import machine_memory
from pytest_yourai.machine import environment
from pytest_yourai.models.model import Model
from pytest_yourai.models.presets import Preset, read_presets
from pytest_yourai.store.profile_reader import read_profile_of, read_profiles
from pytest_yourai.store.stored_profile import StoredProfile
from pytest_yourai.training.checkpoint import MeasuredBaseline
from pytest_yourai.training.option_values import TrainValues
from pytest_yourai.training.options import TrainOptions


@dataclass(frozen=True)
class ChosenConfig:
    """The values of a profile, or of a sweep without an optimum, and where they come from."""

    origin: str
    values: TrainValues
    profile: StoredProfile | None = None
    warnings: tuple[str, ...] = ()
    which: Pick | None = None
    """The answer that it is, of a profile."""

    @classmethod
    def of_profile(
        cls,
        profile: StoredProfile,
        options: TrainOptions,
        model: Model,
        origin: str,
        *,
        is_of_this_model: bool,
    ) -> ChosenConfig:
        """The result that `options` pick of `profile`, without the LoRA keys of another model."""
        picked = Picked.of(profile, options, model)
        found = dataclasses.asdict(picked.result.config) if picked.result else {}
        if not is_of_this_model and found.get("lora_keys") not in (ALL_KEYS, *KEY_SETS):
            found.pop("lora_keys", None)
        values = TrainValues(**found, quantize=profile.settings.quantization)
        return cls(origin, values, profile, tuple(picked.warnings(profile.name)), picked.which)


def measured_model(path: Path, presets: Path) -> tuple[str | None, Path]:
    """The model that the profile in `path` names, and the list to look it up in.

    That is `presets`, unless the profile names another. The model is None where the profile is of
    one that only its user can find. RecordingError if it is no profile, or of several models.
    """
    found = read_profiles(path)
    models = list(dict.fromkeys(each.model for each in found))
    if len(models) > 1:
        raise RecordingError(f"{path} has {', '.join(models)}: name one of them by --model")
    settings = found[0].settings
    try:
        if settings.presets_file is not None:
            return models[0], given_path(settings.presets_file, Path.cwd())
        if settings.model is not None:
            given_path(settings.model, Path.cwd())
            return settings.model, presets
    except ValueError as problem:
        raise RecordingError(f"{path}: settings: {problem}: name the model by --model") from None
    return models[0] if models[0] in read_presets(presets) else None, presets


def read_profile(path: Path, model: Model) -> StoredProfile:
    """The profile in `path`, which has an optimum; of benchmark results that of `model`.

    Its name is the file's alone. RecordingError, naming the file, if it is not a profile, or
    nothing in it fits.
    """
    found = read_profile_of(path, _names(model))
    if found.optimum is None:
        raise RecordingError(
            f"{path}: {found.model} did not fit when it was measured: name another profile, or "
            "choose with --batch-size, --lora-rank and --lora-layers"
        )
    return dataclasses.replace(found, name=path.name)


def has_other_modules(profile: StoredProfile, lora_keys: str) -> bool:
    """True if the named set `lora_keys` does not say what was adapted: the model lacked some."""
    swept = profile.settings.lora_keys or ()
    return lora_keys in KEY_SETS and set(members(lora_keys, swept)) != set(swept)


@dataclass(frozen=True)
class Picked:
    """The answer that options pick, of the results that agree with the axes that they fix.

    What no result agrees with is in `unknown`, as axes with their values, and does not restrict
    the choice: its flag decides anyway.
    """

    which: Pick
    result: TrialResult | None
    unknown: Mapping[Axis, Any]

    @classmethod
    def of(cls, profile: StoredProfile, options: TrainOptions, model: Model) -> Picked:
        """Without a pick it is the answer that comes first; of all results the file's optimum."""
        agreeing, unknown = profile.remaining, {}
        for axis in AXES:
            wanted = getattr(options, axis.name)
            if axis is NUM_LAYERS and wanted == ALL_LAYERS:
                wanted = model.depth
            if wanted is None:
                continue
            fitting = [each for each in agreeing if wanted == axis.of(each.config)]
            agreeing = fitting or agreeing
            if not fitting:
                unknown[axis] = wanted
        usual = Pick.of(profile.objective)
        which = options.pick or headline(agreeing, profile.objective)
        if agreeing == profile.remaining and which is usual and options.pick is None:
            return cls(which, profile.optimum, unknown)
        found = find_answers(agreeing)
        return cls(which, found.pick(which) or found.largest, unknown)

    def warnings(self, name: str) -> Iterator[str]:
        """A line about what the file `name` has no result for."""
        if self.unknown and self.result is not None:
            lacking = (f"{axis.label} {value_text(value)}" for axis, value in self.unknown.items())
            config = self.result.config
            there = (f"{axis.label} {value_text(axis.of(config))}" for axis in self.unknown)
            yield (
                f"{name} has no row with {', '.join(lacking)}: the rest is that of its "
                f"{self.which}, which has {', '.join(there)}"
            )


def baseline_of(result: TrialResult | None) -> MeasuredBaseline | None:
    """The measurements of a trial; None without any."""
    if result is None or not result.success or result.peak_memory_bytes is None:
        return None
    names = [field.name for field in dataclasses.fields(MeasuredBaseline)]
    return MeasuredBaseline(**{name: getattr(result, name) for name in names})


def _names(model: Model) -> set[str]:
    """The names that a profile may give the model: its own, its folder's or its repository's."""
    return {model.name, id_name(model.title)}


Condition = Literal["machine", "model", "quantization", "lora_keys", "ranks", "versions"]

WHAT_RUNS: frozenset[Condition] = frozenset({"model", "quantization", "lora_keys", "ranks"})
"""Conditions that make measurements those of another model, weights, adapters or share of it."""


def profile_differences(
    profile: StoredProfile,
    model: Model,
    presets: Mapping[str, Preset],
    quantization: Quantization | None,
    lora_keys: str,
    ranks: int = 1,
) -> dict[Condition, str]:
    """The conditions of a profile that differ from training `model`, quantized and with keys.

    So many `ranks` train together.

    Each text completes "it was measured".
    """
    texts: dict[Condition, str | None] = {
        "machine": _machine(profile.environment),
        "model": _model(profile, model, presets),
        "quantization": _quantization(profile, quantization),
        "lora_keys": _lora_keys(profile, lora_keys),
        "ranks": _ranks(profile.settings, ranks),
        "versions": _versions(profile.environment),
    }
    return {condition: text for condition, text in texts.items() if text is not None}


def is_of(profile: StoredProfile, model: Model, presets: Mapping[str, Preset]) -> bool:
    """True if `profile` was measured with `model`, or with the preset that stands for it."""
    preset = presets.get(profile.model)
    theirs = {id_name(profile.model), *([id_name(preset.title)] if preset else [])}
    return bool(theirs & _names(model))


def _model(profile: StoredProfile, model: Model, presets: Mapping[str, Preset]) -> str | None:
    if is_of(profile, model, presets):
        return None
    return f"with another model ({profile.model}, not {model.name}): nothing is known of this one"


def _machine(measured: Environment) -> str | None:
    if not measured.chip:
        return "on a machine that it does not name: memory and speed may differ"
    pairs = (
        ("chip", measured.chip, environment.chip()),
        ("backend", measured.backend, environment.installed_backend()),
    )
    differing = [
        f"{name} {there}, here {here}" for name, there, here in pairs if there not in (None, here)
    ]
    there_bytes, here_bytes = measured.system_memory_bytes, psutil.virtual_memory().total
    if there_bytes and environment.is_other_memory(there_bytes, here_bytes):
        memory_here = machine_memory(here_bytes)
        differing.append(f"memory {machine_memory(there_bytes)}, here {memory_here}")
    if not differing:
        return None
    return f"on another machine ({'; '.join(differing)}): memory and speed may differ"


def _quantization(profile: StoredProfile, here: Quantization | None) -> str | None:
    choice = profile.settings.quantization
    there = choice if isinstance(choice, Quantization) else None
    if choice is None or there == here:
        return None
    return f"with other weights ({_words(there)}, here {_words(here)}): memory and speed differ"


def _words(quantization: Quantization | None) -> str:
    if quantization is None:
        return "not quantized"
    return f"{quantization} in groups of {quantization.group_size}"


def _lora_keys(profile: StoredProfile, here: str) -> str | None:
    there = {config.lora_keys for config in profile.results}
    if comparable_keys(here) in map(comparable_keys, there):
        return None
    return (
        f"with other LoRA keys ({', '.join(sorted(there))}, here {here}): memory and speed differ"
    )


def _ranks(measured: SweepSettings, here: int) -> str | None:
    if measured.ranks == here:
        return None
    share = "each with its share of the batch"
    if measured.ranks > 1 and here == 1:
        return f"on {measured.ranks_text}, {share}: one process needs more"
    there = measured.ranks_text if measured.ranks > 1 else "one process"
    return f"on {there}, and {here} ranks train here, {share}: memory and speed differ"


def _versions(measured: Environment) -> str | None:
    there, here = measured.versions, environment.versions()
    differing = [
        f"{name} {there[name]}, here {here.get(name, 'none')}"
        for name in ("mlx", "mlx-lm")
        if name in there and there[name] != here.get(name)
    ]
    if not differing:
        return None
    return f"with other versions ({'; '.join(differing)}): memory and speed may differ"

"""Reads the profile to train with, and compares its conditions with those of the run."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil

from pytest_yourai.core.conditions import Environment
from pytest_yourai.core.config import LoraConfig, Quantization
from pytest_yourai.core.errors import RecordingError
from pytest_yourai.core.labels import id_name
from pytest_yourai.core.units import machine_memory
from pytest_yourai.machine import environment
from pytest_yourai.models.presets import Preset
from pytest_yourai.models.resolve import Model
from pytest_yourai.store.stored_profile import StoredProfile, read_profile_of
from pytest_yourai.training.settings import MeasuredBaseline


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


def baseline_of(profile: StoredProfile, config: LoraConfig) -> MeasuredBaseline | None:
    """The measurements of `config`; None without any."""
    result = profile.measured.get(config)
    if result is None or not result.success or result.peak_memory_bytes is None:
        return None
    return MeasuredBaseline(
        peak_memory_bytes=result.peak_memory_bytes,
        minimum_memory_bytes=result.minimum_memory_bytes,
        active_memory_bytes=result.active_memory_bytes,
        step_time_s=result.step_time_s,
        tokens_per_second=result.tokens_per_second,
    )


def _names(model: Model) -> set[str]:
    """The names that a profile may give the model: its own, its folder's or its repository's."""
    return {model.name, id_name(model.title)}


@dataclass(frozen=True)
class ProfileDifferences:
    """Differences between the conditions of a profile and of a run, in words; None without one."""

    machine: str | None
    model: str | None
    quantization: str | None
    lora_keys: str | None
    versions: str | None

    @property
    def changes_what_runs(self) -> bool:
        """True if the measurements are of another model, or of other weights or adapters."""
        return any((self.model, self.quantization, self.lora_keys))

    def warnings(self, name: str) -> Iterator[str]:
        """One sentence for each difference; `name` is the profile's."""
        parts = (getattr(self, field.name) for field in dataclasses.fields(self))
        yield from (f"{name} was measured {part}" for part in parts if part)


def profile_differences(
    profile: StoredProfile,
    model: Model,
    presets: Mapping[str, Preset],
    quantization: Quantization | None,
    lora_keys: tuple[str, ...] | None,
) -> ProfileDifferences:
    """The differences from training `model`, quantized and with keys as given."""
    return ProfileDifferences(
        machine=_machine(profile.environment),
        model=_model(profile.model, model, presets),
        quantization=_quantization(profile, quantization),
        lora_keys=_lora_keys(profile, lora_keys),
        versions=_versions(profile.environment),
    )


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


def _model(measured: str, model: Model, presets: Mapping[str, Preset]) -> str | None:
    preset = presets.get(measured)
    theirs = {id_name(measured), *([id_name(preset.title)] if preset else [])}
    if theirs & _names(model):
        return None
    return f"with another model ({measured}, not {model.name}): nothing is known of this one"


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


def _lora_keys(profile: StoredProfile, here: tuple[str, ...] | None) -> str | None:
    there = profile.settings.lora_keys
    if there is None or here is None or set(there) == set(here):
        return None
    return (
        f"with other LoRA keys ({', '.join(sorted(there))}, here {', '.join(sorted(here))}): "
        "memory and speed differ"
    )


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

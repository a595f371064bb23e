"""The configuration that a profile found best, and how the run that it is for differs."""

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


@dataclass(frozen=True)
class ChosenProfile:
    """The optimum of a profile, and all that was measured beside it. `name` is the file's."""

    name: str
    config: LoraConfig
    recording: StoredProfile

    @property
    def quantization(self) -> Quantization | None:
        """How the base model was quantized; None for not at all, or where it does not tell."""
        choice = self.recording.settings.quantization
        return choice if isinstance(choice, Quantization) else None

    def baseline(self, config: LoraConfig) -> MeasuredBaseline | None:
        """What was measured of `config`; None where nothing was."""
        result = self.recording.measured.get(config)
        if result is None or not result.success or result.peak_memory_bytes is None:
            return None
        return MeasuredBaseline(
            peak_memory_bytes=result.peak_memory_bytes,
            minimum_memory_bytes=result.minimum_memory_bytes,
            active_memory_bytes=result.active_memory_bytes,
            step_time_s=result.step_time_s,
            tokens_per_second=result.tokens_per_second,
        )


def read_profile(path: Path, model: Model) -> ChosenProfile:
    """The profile in `path`; of benchmark results that of `model`.

    RecordingError, naming the file, if it is not a profile, or nothing in it fits.
    """
    found = read_profile_of(path, _names(model))
    if found.optimum is None:
        raise RecordingError(
            f"{path}: {found.model} did not fit when it was measured: name another profile, or "
            "choose with --batch-size, --lora-rank and --lora-layers"
        )
    return ChosenProfile(path.name, found.optimum.config, found)


def _names(model: Model) -> set[str]:
    """What a profile may call the model: as it was named, or as its folder or repository is."""
    return {model.name, id_name(model.title)}


@dataclass(frozen=True)
class ProfileDifferences:
    """In words, how what was measured differs from what will run; None where it does not."""

    machine: str | None
    model: str | None
    quantization: str | None
    lora_keys: str | None
    versions: str | None

    @property
    def changes_what_runs(self) -> bool:
        """Whether the measured figures are of something else than what will run."""
        return any((self.model, self.quantization, self.lora_keys))

    def warnings(self, name: str) -> Iterator[str]:
        """A sentence for each; `name` is the profile's."""
        parts = (getattr(self, field.name) for field in dataclasses.fields(self))
        yield from (f"{name} was measured {part}" for part in parts if part)


def profile_differences(
    recording: StoredProfile,
    model: Model,
    presets: Mapping[str, Preset],
    quantization: Quantization | None,
    lora_keys: tuple[str, ...] | None,
) -> ProfileDifferences:
    """How `recording` differs from training `model`, quantized and with keys as given."""
    return ProfileDifferences(
        machine=_machine(recording.environment),
        model=_model(recording.model, model, presets),
        quantization=_quantization(recording, quantization),
        lora_keys=_lora_keys(recording, lora_keys),
        versions=_versions(recording.environment),
    )


def _machine(measured: Environment) -> str | None:
    if not measured.chip:
        return "on a machine that it does not name: memory and speed may differ"
    differing = []
    for name, there, here in (
        ("chip", measured.chip, environment.chip()),
        ("backend", measured.backend, environment.installed_backend()),
    ):
        if there is not None and there != here:
            differing.append(f"{name} {there}, here {here}")
    there_bytes = measured.system_memory_bytes
    here_bytes = psutil.virtual_memory().total
    if there_bytes and environment.is_other_memory(there_bytes, here_bytes):
        memories = machine_memory(there_bytes), machine_memory(here_bytes)
        differing.append(f"memory {memories[0]}, here {memories[1]}")
    if not differing:
        return None
    return f"on another machine ({'; '.join(differing)}): memory and speed may differ"


def _model(measured: str, model: Model, presets: Mapping[str, Preset]) -> str | None:
    preset = presets.get(measured)
    theirs = {id_name(measured), *([id_name(preset.title)] if preset else [])}
    if theirs & _names(model):
        return None
    return f"with another model ({measured}, not {model.name}): nothing is known of this one"


def _quantization(recording: StoredProfile, here: Quantization | None) -> str | None:
    choice = recording.settings.quantization
    there = choice if isinstance(choice, Quantization) else None
    if choice is None or there == here:
        return None
    return f"with other weights ({_words(there)}, here {_words(here)}): memory and speed differ"


def _words(quantization: Quantization | None) -> str:
    if quantization is None:
        return "not quantized"
    return f"{quantization} in groups of {quantization.group_size}"


def _lora_keys(recording: StoredProfile, here: tuple[str, ...] | None) -> str | None:
    there = recording.settings.lora_keys
    if there is None or here is None or set(there) == set(here):
        return None
    return (
        f"with other LoRA keys ({', '.join(sorted(there))}, here {', '.join(sorted(here))}): "
        "memory and speed differ"
    )


def _versions(measured: Environment) -> str | None:
    there = measured.versions
    here = environment.versions()
    differing = [
        f"{name} {there[name]}, here {here.get(name, 'none')}"
        for name in ("mlx", "mlx-lm")
        if name in there and there[name] != here.get(name)
    ]
    if not differing:
        return None
    return f"with other versions ({'; '.join(differing)}): memory and speed may differ"

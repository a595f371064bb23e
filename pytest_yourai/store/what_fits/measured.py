"""What the table takes from a profile: little, since there may be ten thousand of them."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from pytest_yourai.core.axes import RECIPE
from pytest_yourai.core.config import LoraConfig, QuantizeChoice, comparable_keys
from pytest_yourai.core.errors import RecordingError
from pytest_yourai.core.paths import is_folder
from pytest_yourai.core.results import TrialResult
from pytest_yourai.store.profile_reader import read_profiles
from pytest_yourai.store.stored_profile import StoredProfile
from pytest_yourai.store.what_fits.machine import Machine
from pytest_yourai.store.what_fits.many_files import read_each

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Training:
    """A column of the table: a model as it is held, the length of its rows, and the recipe.

    `data` names the training data; None for made-up rows of full length.
    """

    model: str
    quantization: str
    max_seq_length: int
    recipe: tuple[Any, ...]
    data: str | None = None

    @property
    def recipe_text(self) -> str:
        """The recipe for people: `lora, adam, qkvo`, and what else is not mlx-lm's default."""
        kind, optimizer, keys, dropout, accumulation = self.recipe
        parts = [str(kind), str(optimizer), *([] if kind == "full" else [str(keys)])]
        if dropout:
            parts.append(f"dropout {dropout:g}")
        if accumulation > 1:
            parts.append(f"accumulation {accumulation}")
        return ", ".join([*parts, *([f"data {self.data}"] if self.data else [])])


@dataclass(frozen=True, slots=True)
class Sample:
    """One trial: what it needed, and its speed where it fitted.

    `fits` is False where it failed for memory, by its own fault.
    """

    config: LoraConfig
    fits: bool
    needs_bytes: int | None
    tokens_per_second: float | None
    limit_bytes: int | None
    times: int
    """A hash of its step times, equal in copies of a file."""


@dataclass(frozen=True, slots=True)
class Measured:
    """The trials of one profile that say something about memory, by their trainings."""

    machine: Machine
    limit_bytes: int | None
    samples: tuple[tuple[Training, Sample], ...]


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A file that is not in the table, and why."""

    name: str
    why: str


@dataclass(frozen=True)
class Collection:
    """All that was read."""

    profiles: tuple[Measured, ...]
    left_out: tuple[LeftOut, ...] = ()


def read_collection(paths: Iterable[Path], processes: int = 1) -> Collection:
    """The profiles in files, and in the JSON files of folders and of the folders in these.

    Of folders, what is no profile is left out; of files that were named, it is a RecordingError.
    RecordingError also where nothing is left. Many files are read by so many `processes`.
    """
    found: list[Measured] = []
    left_out: list[LeftOut] = []
    seen: set[tuple[Any, ...]] = set()
    for profiles, others in read_each(_read, list(_files(paths)), processes):
        found += (_without_copies(each, seen) for each in profiles)
        left_out += others
    if not found:
        names = ", ".join(each.why for each in left_out[:3]) or "there is no JSON file"
        raise RecordingError(f"nothing to show: {names}; name profiles as a sweep writes them")
    return Collection(tuple(found), tuple(left_out))


def _without_copies(profile: Measured, seen: set[tuple[Any, ...]]) -> Measured:
    """What was not `seen` in a copy of the file; what is equal is one object."""
    samples = []
    for training, sample in profile.samples:
        key = (profile.machine, training, sample.config, sample.times)
        if key not in seen:
            seen.add(key)
            samples.append((_interned(training), replace(sample, config=_interned(sample.config))))
    return replace(profile, machine=_interned(profile.machine), samples=tuple(samples))


def _files(paths: Iterable[Path]) -> Iterator[tuple[Path, bool]]:
    """Files, and whether they were named themselves."""
    for path in paths:
        if is_folder(path):
            yield from ((each, False) for each in sorted(path.rglob("*.json")) if each.is_file())
        else:
            yield path, True


def _read(file: tuple[Path, bool]) -> tuple[list[Measured], list[LeftOut]]:
    """The profiles in a file, and what cannot stand beside others."""
    path, is_named = file
    try:
        profiles = read_profiles(path, checks_digest=False)
    except RecordingError as problem:
        if is_named:
            raise
        return [], [LeftOut(str(path), str(problem))]
    reasons = [(each, _why_not(each)) for each in profiles]
    return (
        [_measured(each) for each, why in reasons if why is None],
        [LeftOut(str(path), why) for _, why in reasons if why is not None],
    )


def _why_not(profile: StoredProfile) -> str | None:
    """Why a profile cannot stand beside others; None if it can."""
    if profile.settings.replay is not None:
        return f"{profile.name}: settings.replay: it repeats a recording, and measured nothing"
    if not profile.has_minima:
        return f"{profile.name}: all_results: it has no minimum memory"
    return None


def _measured(profile: StoredProfile) -> Measured:
    samples = tuple(
        (_training(profile, result.config), _sample(result))
        for result in profile.results.values()
        if result.started and (result.success or result.prunes_larger)
    )
    machine = Machine.of(profile.environment, profile.settings)
    return Measured(machine, profile.memory_limit_bytes, samples)


def _sample(result: TrialResult) -> Sample:
    return Sample(
        config=result.config,
        fits=result.success,
        needs_bytes=result.minimum_memory_bytes,
        tokens_per_second=result.tokens_per_second if result.success else None,
        limit_bytes=result.memory_limit_bytes,
        times=hash((result.step_times_s, result.warmup_step_times_s)),
    )


@functools.lru_cache(maxsize=100_000)
def _interned(value: _T) -> _T:
    """One object for all that are equal: most profiles have the same."""
    return value


_WITHOUT_BITS: Mapping[QuantizeChoice, str] = {None: "? bits", "none": "not quantized"}


def quantization_text(how: QuantizeChoice) -> str:
    """`4-bit`, and words where there is none, or it is not known."""
    return _WITHOUT_BITS.get(how, str(how))


def _training(profile: StoredProfile, config: LoraConfig) -> Training:
    return _interned_training(
        profile.model if profile.settings.model is None else profile.settings.model,
        quantization_text(profile.settings.quantization),
        config,
        profile.settings.data,
    )


@functools.lru_cache(maxsize=100_000)
def _interned_training(
    model: str, quantization: str, config: LoraConfig, data: str | None
) -> Training:
    same = config.canonical()
    recipe = (
        *(axis.of(same) for axis in RECIPE[:2]),
        comparable_keys(same.lora_keys),
        same.dropout,
        same.grad_accumulation_steps,
    )
    return Training(model, quantization, config.max_seq_length, recipe, data)

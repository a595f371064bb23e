"""What a shared file must pass: its schema and seal, its sums, its speeds, and what is possible."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pydantic

from pytest_yourai.core.config import LoraConfig
from pytest_yourai.core.digest import DIGEST, digest_of
from pytest_yourai.core.errors import RecordingError
from pytest_yourai.core.files import read_document
from pytest_yourai.core.outcomes import Outcome
from pytest_yourai.core.power import PowerState
from pytest_yourai.core.results import TrialResult
from pytest_yourai.core.units import GB, gigabytes
from pytest_yourai.store.rows import TrialRow
from pytest_yourai.store.schema import first_problem
from pytest_yourai.store.shared.document import COMPUTED, SharedProfile
from pytest_yourai.store.shared.rank_checks import faults_of_group, faults_of_ranks

_SAME = 1e-6
"""Relative difference of numbers that were computed from the same ones."""

_PEAK_BELOW_MINIMUM = 0.03
"""The peak of a step may be so much below the minimum, which is a median of others."""


_SLACK_BYTES = 1_000_000
"""Arrays in flight beyond the conservative estimate, which matter for the smallest models alone."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a configuration can need: not less than the weights, nor more than the estimate."""

    weights_bytes: int
    conservative_bytes: int


BoundsOf = Callable[[SharedProfile, LoraConfig], Bounds | None]
"""The bounds of a configuration; None where they are not known."""


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong, and the key where it is."""

    key: str
    problem: str

    def __str__(self) -> str:
        return f"{self.key}: {self.problem}"


def faults_of(document: Mapping[str, Any], bounds_of: BoundsOf) -> list[Fault]:
    """All faults of a shared file; the first alone where its schema is not right."""
    try:
        shared = SharedProfile.model_validate(document)
    except pydantic.ValidationError as problem:
        key, _, text = first_problem(problem).partition(": ")
        return [Fault(key, f"{text}; write the file with yourai share")]
    return [
        *_seal_faults(document),
        *_completeness_faults(shared),
        *_origin_faults(shared, bounds_of),
        *itertools.starmap(Fault, faults_of_group(shared.settings)),
        *_power_faults(shared),
        *(
            fault
            for number, row in enumerate(shared.all_results, 1)
            for fault in _row_faults(shared, document, number, row, bounds_of)
        ),
    ]


def read_faults(path: Path, bounds_of: BoundsOf) -> list[Fault]:
    """The faults of the file `path`; also that it cannot be read, or was changed."""
    try:
        return faults_of(read_document(path), bounds_of)
    except RecordingError as problem:
        text = str(problem).removeprefix(f"{path}: ")
        key, parted, rest = text.partition(": ")
        return [Fault(key, rest) if parted and key == DIGEST else Fault("file", text)]


def _seal_faults(document: Mapping[str, Any]) -> Iterator[Fault]:
    if document[DIGEST] != digest_of(document):
        yield Fault(DIGEST, "the file was changed after it was written: share the profile again")


def _completeness_faults(shared: SharedProfile) -> Iterator[Fault]:
    if not shared.complete:
        yield Fault("complete", "the sweep was interrupted: resume it, and share it again")
    started = sum(row.started for row in shared.all_results)
    if shared.trials_run != started:
        yield Fault("trials_run", f"it is {shared.trials_run}, and {started} rows were started")
    if not started:
        yield Fault("all_results", "no trial was run: share a sweep that measured something")
    for name in ("mlx", "mlx-lm"):
        if name not in shared.environment.versions:
            yield Fault(f"environment.versions.{name}", "it is missing: sweep with this version")
    configs = [row.config for row in shared.all_results]
    if len(set(configs)) < len(configs):
        yield Fault("all_results", "a configuration has two rows: share the profile again")


def _origin_faults(shared: SharedProfile, bounds_of: BoundsOf) -> Iterator[Fault]:
    """What a file says of its model, its time and its machine, and cannot be."""
    named, model = shared.settings.model, shared.model
    if named is None and bounds_of(shared, shared.all_results[0].config) is None:
        yield Fault("model", f"{model} is not a packaged preset: share a sweep of one, or update")
    if named is not None and named.rpartition("/")[2] != model:
        yield Fault("model", f"{model} is not the name of {named}: share the profile again")
    try:
        datetime.fromisoformat(shared.created_at)
    except ValueError:
        yield Fault("created_at", f"{shared.created_at} is not a time: share the profile again")
    machine = shared.environment
    there_bytes = max(machine.system_memory_bytes, machine.device_memory_bytes or 0)
    if shared.memory_limit_gb * GB > there_bytes * (1 + _SAME):
        limit = gigabytes(round(shared.memory_limit_gb * GB))
        yield Fault("memory_limit_gb", f"{limit} is over the machine's {gigabytes(there_bytes)}")


def _power_faults(shared: SharedProfile) -> Iterator[Fault]:
    """Speeds that a machine has on battery, in low-power mode or hot are not its own."""
    environment = shared.environment
    at_start = PowerState(environment.power_source, None, environment.low_power_mode)
    if reason := _why_slow(at_start):
        yield Fault("environment.power_source", f"{reason}, and measure it again")
    for number, row in enumerate(shared.all_results, 1):
        key = f"all_results: row {number}: power"
        if row.outcome is not Outcome.OK:
            continue
        if row.power is None:
            if environment.backend == "metal":
                yield Fault(key, "it is missing: sweep again with this version")
        elif reason := _why_slow(row.power.trace.worst):
            yield Fault(key, f"{reason}, and measure it again")


def _why_slow(state: PowerState) -> str | None:
    if state.source == "battery":
        return "it was on battery: connect the charger"
    if state.low_power_mode:
        return "low-power mode was on: switch it off"
    return "it was throttled by heat: let it cool" if state.is_throttled else None


def _row_faults(
    shared: SharedProfile,
    document: Mapping[str, Any],
    number: int,
    row: TrialRow,
    bounds_of: BoundsOf,
) -> Iterator[Fault]:
    """Faults of one row, whose keys are those of the file."""
    limit_bytes = round(shared.memory_limit_gb * GB)
    result = row.to_result(shared.model, limit_bytes)
    raw = document["all_results"][number - 1]
    for key, problem in (
        *_sum_faults(raw, TrialRow.from_result(result).as_json()),
        *_step_faults(shared, result),
        *faults_of_ranks(shared.settings, result),
        *_memory_faults(shared, result, limit_bytes),
        *_bound_faults(shared, result, bounds_of),
    ):
        yield Fault(f"all_results: row {number}: {key}", problem)


def _sum_faults(raw: Mapping[str, Any], right: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Keys that do not follow from the measured ones."""
    for key in COMPUTED:
        if not _is_same(raw.get(key), right.get(key)):
            yield key, f"it is {raw.get(key)}, and by the raw measurements {right.get(key)}"


def _is_same(found: Any, right: Any) -> bool:
    if isinstance(found, int | float) and isinstance(right, int | float):
        return math.isclose(found, right, rel_tol=_SAME, abs_tol=_SAME)
    return bool(found == right)


def _step_faults(shared: SharedProfile, result: TrialResult) -> Iterator[tuple[str, str]]:
    if not result.success:
        return
    steps, wanted = len(result.step_times_s), shared.settings.measured_steps
    if steps < wanted:
        yield "step_times_s", f"it has {steps} of {wanted} measured steps"
    config = result.config
    tokens = config.batch_size * (config.max_seq_length - 1)
    ranks = shared.settings.world_size or 1
    if any(each not in (tokens, tokens // ranks) for each in result.step_tokens):
        yield "step_tokens", f"a step of made-up rows has {tokens:,} tokens"
    if not result.loss:
        yield "loss", f"it is {result.loss}, which is not a valid loss"


def _memory_faults(
    shared: SharedProfile, result: TrialResult, limit_bytes: int
) -> Iterator[tuple[str, str]]:
    """Amounts of memory that contradict each other."""
    needs, takes = result.minimum_memory_bytes, result.peak_memory_bytes
    if needs is None:
        return
    if takes is not None and takes < needs * (1 - _PEAK_BELOW_MINIMUM):
        yield "peak_memory_bytes", f"{gigabytes(takes)} is below the minimum, {gigabytes(needs)}"
    if takes is not None and takes > max(limit_bytes, needs * (1 + _PEAK_BELOW_MINIMUM)):
        yield "peak_memory_bytes", f"{gigabytes(takes)} is over the budget"
    safe_bytes = needs * shared.settings.safety_margin
    if result.success and safe_bytes > limit_bytes:
        yield "outcome", f"ok, but {gigabytes(safe_bytes)} is over the budget"
    if result.outcome is Outcome.OVER_BUDGET and safe_bytes <= limit_bytes:
        yield "outcome", f"over_budget, but {gigabytes(safe_bytes)} is within the budget"


def _bound_faults(
    shared: SharedProfile, result: TrialResult, bounds_of: BoundsOf
) -> Iterator[tuple[str, str]]:
    needs = result.minimum_memory_bytes
    bounds = None if needs is None else bounds_of(shared, result.config)
    if needs is None or bounds is None:
        return
    if needs < bounds.weights_bytes:
        weights = gigabytes(bounds.weights_bytes)
        yield "minimum_memory_bytes", f"{gigabytes(needs)} is less than the weights, {weights}"
    if needs > bounds.conservative_bytes + _SLACK_BYTES:
        most = gigabytes(bounds.conservative_bytes)
        yield (
            "minimum_memory_bytes",
            f"{gigabytes(needs)} is over the conservative estimate, {most}",
        )

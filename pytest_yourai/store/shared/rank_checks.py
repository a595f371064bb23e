"""What a shared file must pass that says that several ranks trained together."""

from __future__ import annotations

from collections.abc import Iterator

from pytest_yourai.core.results import TrialResult
from pytest_yourai.core.units import gigabytes, seconds
from pytest_yourai.store.shared.document import SharedSettings

_SAME = 1e-6

_OTHER_STEPS = 0.03
"""A rank's minimum may be so much below that of all, since each is a median of its own steps."""

_BYTES_OF_A_PARAMETER = 4
"""Of the gradient of an adapter, which is of single precision."""


def faults_of_group(settings: SharedSettings) -> Iterator[tuple[str, str]]:
    """Keys of the settings that contradict each other, and why."""
    backend, ranks = settings.distributed_backend, settings.world_size or 1
    if (backend is None) is not (ranks == 1):
        yield (
            "settings.distributed_backend",
            f"it is {backend}, and settings.world_size is {ranks}: share the profile again",
        )


def faults_of_ranks(settings: SharedSettings, result: TrialResult) -> Iterator[tuple[str, str]]:
    """Keys of a trial that cannot be those of so many ranks, and why."""
    world_size = settings.world_size or 1
    if not result.success:
        return
    if len(result.ranks) != (world_size if world_size > 1 else 0):
        yield "ranks", f"it has {len(result.ranks)}, and settings.world_size is {world_size}"
        return
    if world_size == 1:
        return
    if result.config.batch_size % world_size:
        yield "batch_size", f"{world_size} ranks do not divide {result.config.batch_size}"
    yield from _figure_faults(result)
    summed = _BYTES_OF_A_PARAMETER * (result.trained_parameters or 0)
    if result.config.fine_tune_type != "full" and result.all_sum_bytes not in (None, summed):
        yield "all_sum_bytes", f"it is {result.all_sum_bytes}, and the gradients have {summed}"


def _figure_faults(result: TrialResult) -> Iterator[tuple[str, str]]:
    """Figures of ranks of which that of the trial is not the largest."""
    minimum = max(each.minimum_memory_bytes for each in result.ranks)
    whole = result.minimum_memory_bytes or 0
    if not whole * (1 - _OTHER_STEPS) <= minimum <= whole:
        yield (
            "ranks",
            f"one needs {gigabytes(minimum)}, and the trial {gigabytes(whole)}",
        )
    peak = max(each.peak_memory_bytes for each in result.ranks)
    if peak != result.peak_memory_bytes:
        yield "ranks", f"one takes {gigabytes(peak)}, and the trial another amount"
    slowest = max(each.step_time_s for each in result.ranks)
    if result.step_time_s is not None and slowest > result.step_time_s * (1 + _SAME):
        yield "ranks", f"one takes {seconds(slowest)} a step, and the trial less"

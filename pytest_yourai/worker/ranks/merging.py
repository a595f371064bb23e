"""One message of the messages of all ranks."""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from pytest_yourai.core.device import DeviceInfo, MlxMemory
from pytest_yourai.core.errors import WorkerError
from pytest_yourai.worker import messages
from pytest_yourai.worker.joining import Joined
from pytest_yourai.worker.protocol import (
    Compiling,
    Measurement,
    RankFigures,
    RowsRead,
    StepSample,
    TrainedStep,
    Validated,
)

_Step = TypeVar("_Step", StepSample, TrainedStep)


class Merger:
    """Merges what the ranks of one group say, each in its own time.

    Memory is the largest of the last reports. That one compiles is passed on at once, as rows read
    are, unless that rank is ahead of the others. All else waits until every rank has said as much,
    and becomes one message.
    """

    def __init__(self, world_size: int) -> None:
        self._waiting: list[deque[messages.Message]] = [deque() for _ in range(world_size)]
        self._memory: dict[int, MlxMemory] = {}
        self._compiling = False

    def clear(self) -> None:
        """Forget what waits: a new command was sent."""
        for each in self._waiting:
            each.clear()
        self._compiling = False

    def add(self, rank: int, message: messages.Message) -> list[messages.Message]:
        """Take in a message of `rank`; the merged messages that are whole now.

        WorkerError where the ranks do not say the same kind of thing.
        """
        match message:
            case MlxMemory():
                self._memory[rank] = message
                return [_largest(list(self._memory.values()))]
            case RowsRead():
                return [message] if rank == 0 else []
            case Compiling() if not self._waiting[rank]:
                return self._announced(message)
        self._waiting[rank].append(message)
        merged = []
        while all(self._waiting):
            heads = [each.popleft() for each in self._waiting]
            merged.append(merge(heads))
            self._compiling = False
            for each in self._waiting:
                while each and isinstance(each[0], Compiling):
                    merged += self._announced(each.popleft())
        return merged

    def _announced(self, message: messages.Message) -> list[messages.Message]:
        """That a step compiles, for the first rank of which it is known."""
        first, self._compiling = not self._compiling, True
        return [message] if first else []

    def silent(self) -> list[int]:
        """The ranks that others wait for."""
        most = max(len(each) for each in self._waiting)
        return [rank for rank, each in enumerate(self._waiting) if len(each) < most]


def merge(said: list[Any]) -> messages.Message:
    """One message of those that all ranks sent at the same point, in the order of ranks.

    Figures are the largest of theirs; each rank's own stay in a step.
    """
    kinds = {type(each) for each in said}
    if len(kinds) > 1:
        names = ", ".join(sorted(each.__name__ for each in kinds))
        raise WorkerError(f"the ranks are out of step: they sent {names} at the same point")
    merged: messages.Message = _MERGERS.get(type(said[0]), _first)(said)
    return merged


def _first(said: list[Any]) -> Any:
    """What all ranks say in the same words."""
    return said[0]


def _merged_sample(said: list[StepSample]) -> StepSample:
    if len({each.phase for each in said}) > 1:
        raise WorkerError("the ranks are out of step: they are in different phases")
    return _merged_step(said)


def _merged_loading(said: list[messages.Loaded]) -> messages.Loaded:
    return messages.Loaded(max(each.base_memory_bytes for each in said))


def _merged_measurement(said: list[Measurement]) -> Measurement:
    sums = [each.all_sum for each in said if each.all_sum is not None]
    return Measurement(
        all(each.fits for each in said),
        all(each.memory_is_back_at_base for each in said),
        max(sums, key=lambda each: each.time_s, default=None),
    )


def _merged_joining(said: list[Joined]) -> Joined:
    slowest = max((each.all_sum for each in said), key=lambda each: each.time_s)
    return dataclasses.replace(said[0], all_sum=slowest)


def _merged_validation(said: list[Validated]) -> Validated:
    return dataclasses.replace(said[0], time_s=max(each.time_s for each in said))


def _merged_step(said: list[_Step]) -> _Step:
    footprints = [each.footprint_bytes for each in said if each.footprint_bytes is not None]
    figures: dict[str, Any] = {
        name: max(getattr(each, name) for each in said)
        for name in (
            "step_time_s",
            "peak_memory_bytes",
            "active_memory_bytes",
            "cache_memory_bytes",
            "tokens",
        )
    }
    return dataclasses.replace(
        said[0],
        footprint_bytes=max(footprints, default=None),
        ranks=tuple(RankFigures(each.peak_memory_bytes, each.step_time_s) for each in said),
        **figures,
    )


def _largest(reports: list[MlxMemory]) -> MlxMemory:
    used = [each.device_used_bytes for each in reports if each.device_used_bytes is not None]
    return MlxMemory(
        active_bytes=max(each.active_bytes for each in reports),
        peak_bytes=max(each.peak_bytes for each in reports),
        cache_bytes=max(each.cache_bytes for each in reports),
        device_used_bytes=max(used, default=None),
    )


def _smallest_device(devices: list[DeviceInfo]) -> DeviceInfo:
    """The first rank's device, with the least memory of all."""

    def least(name: str) -> int | None:
        return min((v for each in devices if (v := getattr(each, name)) is not None), default=None)

    names = ("memory_bytes", "free_memory_bytes", "max_buffer_bytes", "max_buffers")
    limits: dict[str, Any] = {name: least(name) for name in names}
    return dataclasses.replace(devices[0], **limits)


_MERGERS: Mapping[type, Callable[[list[Any]], Any]] = {
    StepSample: _merged_sample,
    TrainedStep: _merged_step,
    messages.Loaded: _merged_loading,
    Measurement: _merged_measurement,
    Joined: _merged_joining,
    DeviceInfo: _smallest_device,
    Validated: _merged_validation,
}

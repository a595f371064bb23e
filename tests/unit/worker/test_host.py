from __future__ import annotations

import pytest

from pytest_yourai.core.config import LoraConfig
from pytest_yourai.core.device import Backend, DeviceInfo
from pytest_yourai.models.source import ModelSource
from pytest_yourai.store.journal import TaggedLog
from pytest_yourai.worker.host import WorkerHost

from support.models import TINY


@pytest.mark.parametrize(("backend", "counts"), [("cpu", True), ("cuda", False), ("metal", False)])
def test_the_largest_array_counts_on_the_cpu_alone(backend: Backend, counts: bool) -> None:
    host = WorkerHost(ModelSource("tiny", TINY, None, True, None, ("qkvo",)), TaggedLog(), 1)
    config = LoraConfig(4, 8, 4, 64)
    assert host.largest_array_bytes(config) == 0, "nobody knows the device yet"
    host._device = DeviceInfo(backend, "a device", None, None, "0", "0")
    assert (host.largest_array_bytes(config) > 0) is counts

"""What MLX's `device_info()` says, in one form."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_yourai.core.device import Backend, DeviceInfo

# As people printed them.
M1_16 = {
    "resource_limit": 499000,
    "max_buffer_length": 8589934592,
    "architecture": "applegpu_g13g",
    "memory_size": 17179869184,
    "max_recommended_working_set_size": 11453251584,
    "device_name": "Apple M1",
}
M4_PRO_48 = {
    "resource_limit": 499000,
    "max_buffer_length": 30150672384,
    "architecture": "applegpu_g16s",
    "memory_size": 51539607552,
    "max_recommended_working_set_size": 40200896512,
    "device_name": "Apple M4 Pro",
}
M3_ULTRA_256 = {
    "resource_limit": 499000,
    "max_buffer_length": 167503724544,
    "architecture": "applegpu_g15d",
    "memory_size": 274877906944,
    "max_recommended_working_set_size": 223338299392,
    "device_name": "Apple M3 Ultra",
}
M5_MAX_128_RAISED = {
    "device_name": "Apple M5 Max",
    "max_recommended_working_set_size": 130566586368,
    "memory_size": 137438953472,
    "architecture": "applegpu_g17s",
    "max_buffer_length": 86586540032,
    "resource_limit": 499000,
}
H200 = {"device_name": "NVIDIA H200", "total_memory": 150754820096, "free_memory": 149000000000}
CPU = {"device_name": "AMD EPYC", "architecture": "x86_64"}


@pytest.mark.parametrize(
    ("backend", "info", "memory", "free", "buffer", "buffers"),
    [
        ("metal", M1_16, 11453251584, None, 8589934592, 499000),
        ("metal", M4_PRO_48, 40200896512, None, 30150672384, 499000),
        ("metal", M3_ULTRA_256, 223338299392, None, 167503724544, 499000),
        ("metal", M5_MAX_128_RAISED, 130566586368, None, 86586540032, 499000),
        ("cuda", H200, 150754820096, 149000000000, None, None),
        ("cpu", CPU, None, None, None, None),
        ("cpu", {}, None, None, None, None),
    ],
)
def test_device_info(
    backend: Backend,
    info: dict[str, Any],
    memory: int | None,
    free: int | None,
    buffer: int | None,
    buffers: int | None,
) -> None:
    found = DeviceInfo.of(backend, info, "0.32.4", "0.32.2")
    assert found.name == info.get("device_name", "unknown")
    assert (found.memory_bytes, found.free_memory_bytes) == (memory, free)
    assert (found.max_buffer_bytes, found.max_buffers) == (buffer, buffers)

"""What is known before a model is loaded."""

from __future__ import annotations

import pytest

from pytest_yourai.core.config import LoraConfig
from pytest_yourai.core.device import Backend, DeviceInfo
from pytest_yourai.core.results import ModelSize
from pytest_yourai.estimate.predictor import Prediction
from pytest_yourai.machine.system_memory import MOST_HOLDERS, SystemMemory
from pytest_yourai.sweep import preflight as preflight_module
from pytest_yourai.sweep.preflight import Preflight, preflight, too_heavy

GB = 1_000_000_000
CONFIG = LoraConfig(2, 64, 16, 512)
PREDICTION = Prediction(
    minimum_bytes=8 * GB, conservative_bytes=9 * GB, weights_bytes=4 * GB, relative_error=0.01
)


def on_device(available: int | None, backend: Backend = "cuda") -> Preflight | None:
    device = DeviceInfo(backend, "a device", None, available, "0", "0")
    return preflight(CONFIG, PREDICTION, device)


def test_who_holds_memory_is_looked_up_only_where_it_is_short(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def on_machine(available: int) -> Preflight:
        system = SystemMemory(16 * GB, available, 0)
        monkeypatch.setattr(preflight_module, "read_system_memory", lambda: system)
        found = on_device(None, "cpu")
        assert found is not None
        return found

    enough = on_machine(9 * GB)
    assert (enough.missing_bytes, enough.holders) == (0, ())
    short = on_machine(9 * GB - 1)
    assert short.missing_bytes == 1
    assert 0 < len(short.holders) <= MOST_HOLDERS
    assert short.minimum_bytes == 8 * GB
    of_a_gpu = on_device(9 * GB - 1)
    assert of_a_gpu is not None
    assert (of_a_gpu.missing_bytes, of_a_gpu.holders) == (1, ())
    assert on_device(None) is None


def test_weights_with_the_margin_must_be_within_the_budget() -> None:
    size = ModelSize(70, 40 * GB)
    assert too_heavy(size, 46 * GB) is None
    assert too_heavy(None, GB) is None
    assert too_heavy(size, 46 * GB - 1) == (
        "its weights alone take 40.0 GB, with the margin 46.0 GB, over the budget of 46.0 GB"
    )

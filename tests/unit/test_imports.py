"""The core works without pytest, and everything but the engine without MLX."""

import subprocess
import sys

import pytest

from pytest_yourai.paths import PACKAGE

PYTEST_LAYER = {
    "plugin",
    "flags",
    "options",
    "items",
    "soak_items",
    "benchmark",
    "controller",
    "display_hooks",
    "suite.test_lora",
    "suite.test_soak",
}
ENGINE = {
    f"engine.mlx_{name}"
    for name in (
        "adapters",
        "batches",
        "checkpoint",
        "data",
        "device",
        "engine",
        "synthetic",
        "training",
        "trial",
        "validation",
        "weights",
    )
}


def modules() -> list[str]:
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        if parts[-1] not in ("__init__", "__main__"):
            found.append(".".join(parts))
    return found


@pytest.mark.parametrize("name", [*modules(), "worker.__main__"])
def test_a_module_imports_only_its_layer(name: str) -> None:
    code = f"import sys, pytest_yourai.{name}; print(*sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert ("mlx" in loaded) is (name in ENGINE)
    if name not in PYTEST_LAYER:
        assert "pytest" not in loaded

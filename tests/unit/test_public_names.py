"""Public API: the names that user code imports. Changing them breaks other people's tests."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import pytest_yourai

from support import public_api

PUBLIC = {
    "pytest_yourai": [
        "Fits",
        "InputError",
        "LoraConfig",
        "MemoryEstimate",
        "Outcome",
        "Profile",
        "Recommendation",
        "Trial",
        "TrialError",
        "TrialResult",
        "YouraiError",
        "estimate_training_memory",
        "fits",
        "load",
        "recommend",
        "sweep",
    ],
    "pytest_yourai.estimate": ["MemoryEstimate", "estimate_training_memory"],
    "pytest_yourai.trial_handle": ["Trial", "TrialError"],
}


@pytest.mark.parametrize(("module", "names"), PUBLIC.items())
def test_the_public_names_are_these(module: str, names: list[str]) -> None:
    found = importlib.import_module(module)
    assert sorted(found.__all__) == names
    assert all(getattr(found, name).__doc__ for name in names)


def test_the_public_api_is_as_it_was_written_down() -> None:
    command = "python tests/support/public_api.py"
    assert public_api.FILE.read_text(encoding="utf-8") == public_api.api_text(), (
        f"the public API changed: if that is meant, run {command}, and commit what it wrote"
    )


def test_every_public_name_is_in_the_reference() -> None:
    page = Path(__file__).parents[2] / "docs" / "reference" / "python.md"
    text = page.read_text(encoding="utf-8")
    assert not [name for name in pytest_yourai.__all__ if f"`{name}`" not in text]


def test_a_name_that_is_not_there_is_not_found() -> None:
    assert set(pytest_yourai.__all__) <= set(dir(pytest_yourai))
    with pytest.raises(AttributeError, match="has no attribute 'lod'"):
        getattr(pytest_yourai, "lo" + "d")


def test_importing_the_package_imports_nothing_heavy() -> None:
    """Neither pytest nor MLX comes with a use of it either."""
    text = (
        "import sys, pytest_yourai\n"
        "heavy = {'pytest', '_pytest', 'mlx', 'mlx_lm', 'numpy', 'pydantic', 'rich', 'yaml'}\n"
        "assert not heavy & set(sys.modules)\n"
        "[getattr(pytest_yourai, name) for name in pytest_yourai.__all__]\n"
        "assert not {'pytest', '_pytest', 'mlx', 'mlx_lm'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", text], check=True)

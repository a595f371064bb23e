"""Public API: the names that user code imports. Changing them breaks other people's tests."""

from __future__ import annotations

import importlib

import pytest

PUBLIC = {
    "pytest_yourai.estimate": ["MemoryEstimate", "estimate_training_memory"],
    "pytest_yourai.trial_handle": ["Trial", "TrialError"],
}


@pytest.mark.parametrize(("module", "names"), PUBLIC.items())
def test_the_public_names_are_these(module: str, names: list[str]) -> None:
    found = importlib.import_module(module)
    assert sorted(found.__all__) == names
    assert all(getattr(found, name).__doc__ for name in names)

"""The packaged soak: one item for each model that is swept, after all sweeps."""

from __future__ import annotations

import pytest

from pytest_yourai.core.soak_results import Soak


@pytest.fixture
def soak(request: pytest.FixtureRequest) -> Soak:
    """The soaks of one model, run when the test is called."""
    if not hasattr(request, "param"):
        pytest.skip("no soak was asked for: add --yourai-soak=MINUTES")
    item_id: str = request.param
    return Soak(item_id)


def test_soak(soak: Soak) -> None:
    """A configuration that fits trains on, for as long as was asked for.

    The soak runs before this body.
    """
    assert soak.survivor is not None

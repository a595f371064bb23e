"""The files in community/ are what they must be of everybody."""

from pathlib import Path

from pytest_yourai.store.shared.bounds import bounds_of
from pytest_yourai.store.shared.checks import read_faults

PROFILES = sorted((Path(__file__).parents[3] / "community" / "profiles").iterdir())


def test_all_of_them_pass() -> None:
    assert PROFILES
    assert {path.name: read_faults(path, bounds_of) for path in PROFILES} == {
        path.name: [] for path in PROFILES
    }

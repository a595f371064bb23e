import pytest

from pytest_yourai.units import gigabytes, machine_memory, seconds


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (12_400_000_000, "12.4 GB"),
        (100_000_000, "0.1 GB"),
        (99_000_000, "99.0 MB"),
        (5_300_000, "5.3 MB"),
        (8_100, "8.1 kB"),
        (0, "0.0 kB"),
    ],
)
def test_memory_of_models(count: int, text: str) -> None:
    assert gigabytes(count) == text


def test_a_machine_is_given_in_both_units() -> None:
    assert machine_memory(36 * 2**30) == "38.7 GB (36 GiB)"


@pytest.mark.parametrize(
    ("value", "text"),
    [(12.34, "12.3s"), (1.0, "1.0s"), (0.56, "0.56s"), (0.035, "35ms"), (0.0042, "4.2ms")],
)
def test_step_times(value: float, text: str) -> None:
    assert seconds(value) == text

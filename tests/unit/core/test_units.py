import pytest

from pytest_yourai.core.units import (
    duration,
    format_change,
    gigabytes,
    machine_memory,
    parameter_count,
    parameters,
    same_memory,
    same_seconds,
    seconds,
)


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (12_400_000_000, "12.4 GB"),
        (999_960_000, "1.0 GB"),
        (999_900_000, "999.9 MB"),
        (5_300_000, "5.3 MB"),
        (8_100, "8.1 kB"),
        (0, "0 MB"),
    ],
)
def test_memory_of_models(count: int, text: str) -> None:
    assert gigabytes(count) == text


def test_a_column_has_one_unit_and_precision() -> None:
    column = [85e6, 1.4e9, None]
    assert [same_memory(column)(each) for each in (85e6, 1.4e9)] == ["85.0 MB", "1,400.0 MB"]
    assert [same_memory([3e6, 1e11])(each) for each in (3e6, 1e11)] == ["0.0 GB", "100.0 GB"]
    assert same_memory([None])(0) == "0 MB"
    assert [same_seconds([0.1, 1.2])(each) for each in (0.1, 1.2)] == ["100ms", "1,200ms"]
    assert [same_seconds([0.004, 0.02])(each) for each in (0.004, 0.02)] == ["4.0ms", "20.0ms"]
    assert [same_seconds([2.0, 30, None])(each) for each in (2.0, 30)] == ["2.0s", "30.0s"]
    assert same_seconds([])(0.0) == "0.0s"


@pytest.mark.parametrize(
    ("share", "text"),
    [(0.05, "+5.0 %"), (-0.003, "-0.3 %"), (-0.0004, "+0.0 %"), (0.0, "+0.0 %")],
)
def test_a_change_that_rounds_to_nothing_is_not_negative(share: float, text: str) -> None:
    assert format_change(share) == text


def test_a_machine_is_given_in_both_units() -> None:
    assert machine_memory(36 * 2**30) == "38.7 GB (36 GiB)"


@pytest.mark.parametrize(
    ("value", "text"),
    [(12.34, "12.3s"), (1.0, "1.0s"), (0.56, "560ms"), (0.035, "35ms"), (0.0042, "4.2ms")],
)
def test_step_times(value: float, text: str) -> None:
    assert seconds(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.2, "1 s"),
        (45.4, "45 s"),
        (119.9, "120 s"),
        (120, "2 min"),
        (3569, "59 min"),
        (3571, "1 h 00 min"),
        (11100, "3 h 05 min"),
        (360_000, "100 h 00 min"),
    ],
)
def test_what_a_person_waits_for(value: float, text: str) -> None:
    assert duration(value) == text


@pytest.mark.parametrize(
    ("text", "count"),
    [("7B", 7e9), ("70b", 70e9), ("0.3M", 0.3e6), (" 1.5B ", 1.5e9), ("900K", 9e5)],
)
def test_a_number_of_parameters_is_read(text: str, count: float) -> None:
    assert parameter_count(text) == pytest.approx(count)


@pytest.mark.parametrize("text", ["", "7", "B", "seven", "-7B", "7BB", "0B", "1e3B", "7.B", "nanM"])
def test_what_is_not_a_number_of_parameters_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="write it as 7B or 0.3M"):
        parameter_count(text)


@pytest.mark.parametrize("text", ["0.3M", "7B", "1.2B", "8B", "14B", "70B", "405B", "0.5B", "60M"])
def test_a_size_is_called_as_it_is_read(text: str) -> None:
    assert parameters(parameter_count(text)) == text


def test_an_unknown_size_has_a_sign_of_its_own() -> None:
    assert parameters(None) == "?"

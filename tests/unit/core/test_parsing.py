"""Values of flags, and in which words a text is refused that is none."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pytest_yourai.core.parsing import (
    at_least,
    data_source,
    memory_bytes,
    memory_size,
    number_within,
    one_of,
    positive,
)

from support.training import rows_folder


def test_values_are_read() -> None:
    assert memory_bytes("1.5") == 1_500_000_000
    assert memory_bytes("16GB") == memory_bytes("16 gb") == memory_bytes("16")
    assert memory_bytes("500 MB") == 500_000_000
    assert memory_bytes(".5gb") == memory_bytes("0.5") == memory_bytes("5e2MB")
    assert memory_size("20 GB") == 20_000_000_000
    assert memory_size(" 2.5MB ") == 2_500_000
    assert positive(10)("1e-5") == 1e-5
    assert at_least(-1)("-1") == -1
    assert one_of("a", "b")("b") == "b"


@pytest.mark.parametrize(
    ("parse", "text", "message"),
    [
        (memory_size, "20", "a number of GB or MB, such as 20 GB"),
        (memory_size, "0 GB", "above 0"),
        (memory_bytes, "16 GiB", "a number of GB"),
        (memory_bytes, "0.0001", "at least 0.001 GB, which is 1 MB"),
        (memory_bytes, "inf", "GB above 0, such as 16, 16GB or 500MB, up to 1,000,000"),
        (positive(10), "nan", "above 0 and at most 10"),
        (positive(10), "0", "above 0"),
        (at_least(2), "1", "whole number of at least 2"),
        (at_least(2), "2.5", "whole number of at least 2"),
        (at_least(0, 1000), "1001", "at most 1,000"),
        (one_of("a", "b"), "c", "one of a, b"),
        (number_within(0, 1), "1", "it must be a number of at least 0 and below 1"),
        (number_within(0, 1), "nan", "it must be a number of at least 0 and below 1"),
    ],
)
def test_what_is_not_a_value_is_refused(
    parse: Callable[[str], Any], text: str, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        parse(text)


def test_data_is_a_folder_with_rows_or_the_name_of_a_data_set(tmp_path: Path) -> None:
    data = rows_folder(tmp_path / "data")
    assert data_source("data", tmp_path) == str(data)
    assert data_source("owner/name", tmp_path) == "owner/name"
    (tmp_path / "nothing").mkdir()
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "train.jsonl").touch()
    for text, message in (
        ("nothing", "no train.jsonl"),
        ("empty", "is empty"),
        ("data/train.jsonl", "it is a file"),
        ("./gone", "no such folder"),
        ("gone", "no such folder"),
    ):
        with pytest.raises(ValueError, match=message):
            data_source(text, tmp_path)

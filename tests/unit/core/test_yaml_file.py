import re
from pathlib import Path

import pydantic
import pytest

from pytest_yourai.core.errors import MatrixError
from pytest_yourai.core.yaml_file import read_yaml, validate


class Schema(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid")

    sizes: list[int]


def write(folder: Path, text: str) -> Path:
    path = folder / "m.yaml"
    path.write_text(text)
    return path


def test_a_mistake_is_named_by_file_line_and_key(tmp_path: Path) -> None:
    path = write(tmp_path, "# first\nsizes:\n  - 1\n  - two\n")
    file = read_yaml(path, MatrixError, "a matrix")
    with pytest.raises(MatrixError) as caught:
        validate(file, Schema, file.value, MatrixError)
    assert str(caught.value).startswith(f"{path}:4: sizes.1: ")
    assert "'two'" in str(caught.value)


def test_an_unknown_key_is_named_with_the_known_ones(tmp_path: Path) -> None:
    path = write(tmp_path, "sizes: [1]\nsise: [2]\n")
    file = read_yaml(path, MatrixError, "a matrix")
    with pytest.raises(MatrixError, match="m.yaml:2: sise: unknown key: did you mean sizes?"):
        validate(file, Schema, file.value, MatrixError)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [1\nb: 2\n", r"m\.yaml:2: this is not plain YAML"),
        ("a: 1\na: 2\n", r"m\.yaml:2: a: this key appears twice"),
        ("a: &x [*x]\n", r"m\.yaml:1: .* aliases are not supported"),
        ("a:\n  b: 1\n  <<: {b: 2}\n", r"m\.yaml:3: <<: merge keys are not supported: write the"),
        ("a: 1\n2: 3\n", r"m\.yaml:2: 2: this key is not text: write it in quotes"),
        ("a: {no: 1}\n", r"m\.yaml:1: no: this key is not text"),
        ("a: 1\n? [b]\n: 1\n", r"m\.yaml:2: \?: this key is not text"),
        ("a: &x [1]\nb: [*x, *x]\n", r"m\.yaml:2: .* write the values out"),
        ("a: !!python/object/apply:os.system [ls]\n", r"this is not plain YAML"),
        ("--- 1\n--- 2\n", r"this is not plain YAML"),
    ],
)
def test_what_is_not_plain_yaml_is_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(MatrixError, match=message):
        read_yaml(write(tmp_path, text), MatrixError, "a matrix")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(MatrixError, match=r"absent\.yaml does not exist: name a matrix that does"):
        read_yaml(tmp_path / "absent.yaml", MatrixError, "a matrix")


def test_a_file_of_other_bytes_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.yaml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(MatrixError, match="cannot be read as a matrix"):
        read_yaml(path, MatrixError, "a matrix")


def test_a_file_that_is_too_long_is_refused_before_it_is_parsed(tmp_path: Path) -> None:
    with pytest.raises(MatrixError, match=r"m\.yaml has 1,000,001 characters: too many"):
        read_yaml(write(tmp_path, "#" * 1_000_001), MatrixError, "a matrix")


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("1:30", "1:30 is 90 in YAML 1.1: write 90"),
        ("-1:30", "-1:30 is -90 in YAML 1.1: write -90"),
        ("010", "010 is 8 in YAML 1.1: write 8"),
        ("1:30.5", "1:30.5 is 90.5 in YAML 1.1: write 90.5"),
        ("9" * 5000, "a number has 5,000 digits"),
        ("1_0" * 3000, "digits"),
    ],
)
def test_a_number_that_is_another_one_than_it_seems_is_refused(
    tmp_path: Path, written: str, said: str
) -> None:
    path = tmp_path / "m.yaml"
    path.write_text(f"a: 1\nbatch_size: [2, {written}]\n")
    with pytest.raises(MatrixError, match=re.escape(said)) as caught:
        read_yaml(path, MatrixError, "a matrix")
    assert str(caught.value).startswith(f"{path}:2: ")
    assert "set_int_max_str_digits" not in str(caught.value)


@pytest.mark.parametrize(
    ("written", "value"), [("0", 0), ("-12", -12), ("0x10", 16), ("1_000", 1000), ("1.5", 1.5)]
)
def test_other_numbers_are_what_they_seem(tmp_path: Path, written: str, value: float) -> None:
    path = tmp_path / "m.yaml"
    path.write_text(f"a: {written}\n")
    assert read_yaml(path, MatrixError, "a matrix").value == {"a": value}

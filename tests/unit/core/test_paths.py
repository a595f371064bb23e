"""What a path means that a user wrote."""

from pathlib import Path

import pytest

from pytest_yourai.core.paths import from_here, given_path


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("x", "/base/x"),
        ("/x", "/x"),
        ("~/x", "/home/someone/x"),
        ("~nobody-of-this-name/x", "/base/~nobody-of-this-name/x"),
    ],
)
def test_a_path_is_seen_from_its_folder_or_the_home(
    text: str, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", "/home/someone")
    assert given_path(text, Path("/base")) == Path(expected)


def test_a_path_has_no_null_characters(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="null characters"):
        given_path("a\0b", tmp_path)


def test_a_path_below_the_current_folder_is_relative_to_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert from_here(tmp_path / "a" / "b") == Path("a/b")
    assert from_here(tmp_path.parent) == tmp_path.parent

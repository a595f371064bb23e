from __future__ import annotations

import os
import sys

import pytest

from pytest_yourai.plan.joined_values import join_in_this_process, joined, joined_text


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ("pytest --yourai-model ./x -q", "pytest --yourai-model=./x -q"),
        (
            "--yourai-model a --yourai-model=b test_a.py",
            "--yourai-model=a --yourai-model=b test_a.py",
        ),
        ("--yourai-quick test_a.py", "--yourai-quick test_a.py"),
        ("--yourai-model --co", "--yourai-model --co"),
        ("--yourai-model", "--yourai-model"),
        ("--yourai-models ./x --model ./y", "--yourai-models=./x --model ./y"),
        ("--yourai-data ./x -- --yourai-data ./y", "--yourai-data=./x -- --yourai-data ./y"),
    ],
)
def test_values_of_our_flags_follow_an_equals_sign(arguments: str, expected: str) -> None:
    assert list(joined(arguments.split())) == expected.split()


def test_text_is_quoted_as_a_shell_reads_it() -> None:
    assert joined_text("--yourai-model './my model'") == "'--yourai-model=./my model'"


@pytest.mark.parametrize("text", ["-k 'a  b'   -q", "--yourai-model 'torn"])
def test_other_text_stays_as_it_is(text: str) -> None:
    assert joined_text(text) == text


def test_the_arguments_and_the_variable_of_this_process_are_joined(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    modules = {"os": sys, "pytest_yourai": sys, "pytest_yourai.plan": sys}
    monkeypatch.setattr(sys, "argv", ["pytest", "--yourai-model", "./x"])
    monkeypatch.setenv("PYTEST_ADDOPTS", "--yourai-data ./y")
    with monkeypatch.context() as patched:
        patched.setattr(sys, "modules", modules)
        join_in_this_process()
    assert sys.argv == ["pytest", "--yourai-model=./x"]
    assert os.environ["PYTEST_ADDOPTS"] == "--yourai-data=./y"
    # pytest would warn that it cannot rewrite what was imported before it.
    assert list(modules) == ["os"]

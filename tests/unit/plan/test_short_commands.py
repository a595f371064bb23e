"""The short form of a command line of pytest, which means the same."""

from __future__ import annotations

import pytest

from pytest_yourai.plan.invocation import Invocation
from pytest_yourai.plan.short_commands import short_words


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ("--yourai-model=tiny --quick", "sweep tiny --quick"),
        ("--quick --yourai-model tiny", "sweep tiny --quick"),
        (
            "--yourai-max-memory=16 --yourai-model=a --yourai-model b/c",
            "sweep a b/c --max-memory 16",
        ),
        ("--yourai-model=-x --yourai-num-layers=-1", "sweep --model=-x --num-layers=-1"),
        ("--yourai-replay=p.json --yourai-output=", "sweep --replay p.json --output="),
        ("--yourai-benchmark --yourai-optimize", "models --optimize"),
        ("--yourai-recommend --yourai-model", "fit --model="),
        ("-k a --yourai-model=tiny -vx --lf --tb=short", "sweep tiny -k a -vx --lf --tb=short"),
        ("--yourai-model=tiny -k -x", "sweep tiny -- -k -x"),
        ("--yourai-model=tiny -k", "sweep tiny -- -k"),
        ("--yourai-model=tiny -x -p no:cov", "sweep tiny -- -x -p no:cov"),
        ("--yourai-model=tiny test_mine.py -", "sweep tiny -- test_mine.py -"),
    ],
)
def test_the_words_of_the_short_form(arguments: str, expected: str) -> None:
    assert list(short_words(arguments.split())) == ["yourai", *expected.split()]


def test_how_it_was_called_reaches_the_pytest_that_it_becomes() -> None:
    called = Invocation(("--yourai-model=a b",), is_short=True, training=("--iters", "5"))
    [text] = called.variables().values()
    assert Invocation.of(text, called.arguments) == called
    long = Invocation.of(None, called.arguments)
    assert long == Invocation(called.arguments)
    assert long.variables() == {}
    assert called.line(*called.arguments) == "yourai sweep 'a b'"
    assert long.line(*called.arguments) == "pytest '--yourai-model=a b'"


@pytest.mark.parametrize("text", ["", "{", "3"])
def test_what_somebody_else_wrote_there_is_nothing(text: str) -> None:
    assert Invocation.of(text, ()) == Invocation((), is_short=True)

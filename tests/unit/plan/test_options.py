"""Flags that contradict each other are refused before anything is planned."""

from __future__ import annotations

import pytest

from pytest_yourai.core.errors import OptionError
from pytest_yourai.plan.options import check_combinations, check_files
from pytest_yourai.plugin.read_options import read_options

from support.hub import bare_model
from support.models import TINY


def check(pytester: pytest.Pytester, *flags: str) -> None:
    options = read_options(pytester.parseconfig(*flags))
    check_combinations(options)
    check_files(options)


TWO_MODELS = ("--yourai-model=tiny", "--yourai-model=llama-8b")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--yourai-optimize",), "--yourai-optimize needs --yourai-benchmark: add it"),
        (("--yourai-benchmark", "--quick"), "--quick and --yourai-matrix are for sweeps: add"),
        (("--yourai-benchmark", "--yourai-matrix=m.yaml"), "--quick and --yourai-matrix are for"),
        (("--yourai-benchmark", "--yourai-replay=p.json"), "--yourai-replay: a recording is of"),
        ((*TWO_MODELS, "--yourai-replay=p.json"), "--yourai-replay: a recording is of one model"),
        (
            ("--yourai-fail-on=peak_memory:5%",),
            "--yourai-fail-on needs a profile to compare with: add",
        ),
        (("--yourai-replay=p.json", "--yourai-resume"), "--yourai-resume: a replay measures"),
        (("--yourai-confirm=1",), "--yourai-confirm needs a profile to compare with: add"),
    ],
)
def test_flags_that_contradict_each_other_are_refused_by_name(
    pytester: pytest.Pytester, flags: tuple[str, ...], message: str
) -> None:
    with pytest.raises(OptionError, match=f"^{message}"):
        check(pytester, *flags)


@pytest.mark.parametrize(
    "flags",
    [
        ("--yourai-benchmark", "--yourai-optimize", "--quick"),
        ("--quick", "--yourai-model=tiny"),
        ("--yourai-replay=p.json", "--yourai-model=tiny"),
        ("--yourai-fail-on=peak_memory:5%", "--yourai-compare=p.json"),
        TWO_MODELS,
    ],
)
def test_what_goes_together_is_accepted(pytester: pytest.Pytester, flags: tuple[str, ...]) -> None:
    check(pytester, *flags)


def test_a_folder_that_is_named_in_two_ways_is_named_twice(pytester: pytest.Pytester) -> None:
    bare_model(pytester.path / "mine", TINY)
    with pytest.raises(OptionError, match="--yourai-model: .*mine is named twice: name it once"):
        check(pytester, "--yourai-model=mine", "--yourai-model=../" + pytester.path.name + "/mine")


@pytest.mark.parametrize("key", ["yourai_replay = p.json", "yourai_optimize = true"])
def test_an_ini_key_that_has_no_effect_on_a_walk_or_a_sweep_may_stay(
    pytester: pytest.Pytester, key: str
) -> None:
    pytester.makeini(f"[pytest]\n{key}\n")
    check(pytester, *([] if "optimize" in key else ["--yourai-benchmark"]))


@pytest.mark.parametrize(
    ("flags", "rounds"),
    [
        ((), 0),
        (("--yourai-compare=p.json",), 2),
        (("--yourai-compare=p.json", "--yourai-fail-on=none"), 0),
        (("--yourai-compare=p.json", "--yourai-fail-on=none", "--yourai-confirm=1"), 1),
        (("--yourai-compare=p.json", "--yourai-confirm=0"), 0),
        (("--yourai-compare=p.json", "--yourai-replay=r.json"), 0),
    ],
)
def test_what_got_slower_is_measured_again_where_it_fails_a_run(
    pytester: pytest.Pytester, flags: tuple[str, ...], rounds: int
) -> None:
    assert read_options(pytester.parseconfig(*flags)).rounds_of_confirmation == rounds

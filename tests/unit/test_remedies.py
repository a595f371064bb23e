"""Every message says what to do, and whatever it names is there."""

import ast
import re

import pytest

from pytest_yourai.cli.commands import OWN_COMMANDS
from pytest_yourai.core.known_failures import KNOWN_FAILURES
from pytest_yourai.core.outcomes import Outcome, SkipReason
from pytest_yourai.plan.flags import FLAGS
from pytest_yourai.plan.short_commands import SHORT_COMMANDS
from pytest_yourai.training.options import TRAIN_OPTIONS

from support.messages import calls, input_errors, says_what_to_do, strings, text_of

FLAG = re.compile(r"--yourai-[a-z]+(?:-[a-z]+)*")

ENDS_WITH_WHAT_A_PARSER_SAYS = {
    "--fail-on: {} is not valid: {}",
    "MODEL: {} is not valid: {}",
    "lora_keys: {} is not valid: {}",
    "model: {} is not valid: {}",
    "objective: {} is not valid: {}",
    "{}: {} is not valid: {}",
    "{}: {}: {} is not valid: {}",
    "--data: the checkpoint was trained on {}, and {}",
}

HAS_A_MESSAGE_OF_ITS_OWN = {
    "{}": "made elsewhere: by the worker, for a preset, or for a row",
    "{}{}": "for a row",
    "{}: {}": "by the schema of a YAML file",
    "{}:{}: {}: {}": "by _problem_of_key",
    "{} cannot be downloaded: {}": "by known_failures",
    "{} cannot be continued from: {}; {}": "by checkpoint_file",
    "the worker process cannot run: {}; {}": "by the host",
    "--yourai-data: {}": "by lfs",
    "{}{}{}{}": "by its parts",
    "quantized weights": "by untrainable_in_full",
    "{} is neither a preset nor a folder, nor a repository as owner/name: {}": "by the nearest",
    "unknown command {}{}": "by the nearest, or help",
    "unknown flag {}{}": "by the nearest, or help",
    "--yourai-lora-keys: {} matches no module of {}: {}": "by its hint",
}

NOTHING_NEEDS_TO_BE_DONE = {
    SkipReason.DOMINATED,
    SkipReason.SEARCH_IS_DONE,
    SkipReason.SEARCHED_ELSEWHERE,
    SkipReason.CHECK_FAILED,  # whose own line says what to do
}


def test_every_refusal_says_what_to_do() -> None:
    known = HAS_A_MESSAGE_OF_ITS_OWN.keys() | ENDS_WITH_WHAT_A_PARSER_SAYS
    assert not [
        f"{each.place} {each.text}"
        for each in input_errors()
        if each.text not in known and not says_what_to_do(each.text)
    ]


@pytest.mark.parametrize(
    "module",
    [
        *("core/config.py", "core/parsing.py", "core/paths.py", "core/units.py"),
        *("models/presets.py", "plan/matrix.py", "plan/read_options.py"),
        "store/compare/thresholds.py",
    ],
)
def test_every_refused_value_says_how_it_must_be(module: str) -> None:
    texts = [text_of(call.args[0]) for place, call in calls("ValueError") if module in place]
    assert texts
    # The last are those that end with the remedy of another function.
    assert not [text for text in texts if not says_what_to_do(text) and not text.endswith("{}")]


def test_every_failure_that_is_known_has_a_remedy() -> None:
    assert not [each.what for each in KNOWN_FAILURES if not says_what_to_do(each.remedy)]


def test_every_outcome_but_ok_has_a_remedy() -> None:
    without = [
        place
        for place, call in calls("Diagnosis")
        if len(call.args) < 3 and ast.unparse(call.args[0]) != "Outcome.OK"
    ]
    # That of an InputError, whose sentence ends with its own.
    assert len(without) <= 1, without


def test_every_skip_that_is_a_mistake_has_a_remedy() -> None:
    fine = {f"SkipReason.{each.name}" for each in NOTHING_NEEDS_TO_BE_DONE}
    rules = {ast.unparse(call.args[0]): len(call.args) for _, call in calls("Skip")}
    assert {rule for rule, arguments in rules.items() if arguments < 3} <= fine
    assert {f"SkipReason.{each.name}" for each in SkipReason} == rules.keys()


def test_every_flag_and_command_that_is_named_is_there() -> None:
    flags = {flag.option for flag in FLAGS} | {"--yourai-flag"}
    commands = {each.name for each in (*OWN_COMMANDS, *SHORT_COMMANDS)}
    for place, text in strings():
        assert set(FLAG.findall(text)) <= flags, place
        named = re.findall(r"(?:^|[:;,] |with |run |of )yourai ([a-z]+)", text)
        assert set(named) <= commands | {"commands"}, place


def test_no_message_of_training_names_a_flag_that_it_lacks() -> None:
    """Commands show the flags of pytest without `yourai-`."""
    lacking = {flag.option for flag in FLAGS} - {
        each.flag.replace("--", "--yourai-") for each in TRAIN_OPTIONS.values()
    }
    shared = ("core/", "machine/", "models/", "training/", "worker/")
    wrong = [
        f"{each.place} {each.text}"
        for each in input_errors()
        if each.place.startswith(shared) and lacking & set(FLAG.findall(each.text))
    ]
    assert not wrong
    of_the_hub = [each for each in KNOWN_FAILURES if each.outcome is Outcome.UNAVAILABLE]
    assert not [each.what for each in of_the_hub if lacking & set(FLAG.findall(each.remedy))]


def test_no_value_is_cut_without_an_ellipsis() -> None:
    assert not [place for place, text in strings() if re.fullmatch(r"\.\d+", text)]

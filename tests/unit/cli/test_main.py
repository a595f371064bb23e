"""The `yourai` command: help, what pytest is called with, and mistakes in one sentence."""

from __future__ import annotations

import importlib.metadata
import os
import pkgutil
import re
import sys
import tomllib
from pathlib import Path
from typing import NoReturn

import pytest

from pytest_yourai.cli.main import main
from pytest_yourai.plan.flags import FLAGS, GROUPS
from pytest_yourai.plan.short_commands import SHORT_COMMANDS
from pytest_yourai.training.options import HANDED_ON, TRAIN_GROUPS, TRAIN_OPTIONS


class _ReplacedError(BaseException):
    """This process would be another one now."""


@pytest.fixture
def training() -> list[str]:
    """What it would have been told to hand on to training."""
    return []


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch, training: list[str]) -> list[list[str]]:
    """What the process would have become."""
    found = []

    def become(_: str, command: list[str], environment: dict[str, str]) -> NoReturn:
        assert "--noconftest" in environment["PYTEST_ADDOPTS"]
        training.append(environment["YOURAI_INVOCATION"])
        found.append(command)
        raise _ReplacedError

    monkeypatch.setattr(os, "execve", become)
    return found


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["sweep", "tiny", "--quick"], ["--yourai-model=tiny", "--yourai-quick"]),
        (["optimize", "--model", "tiny", "--quick"], ["--yourai-model=tiny", "--yourai-quick"]),
        (
            ["sweep", "--memory", "16", "a b", "--batch", "1,2", "--model", "x", "--keys=all"],
            [
                *("--yourai-model=x", "--yourai-model=a b", "--yourai-batch-size=1,2"),
                *("--yourai-lora-keys=all", "--yourai-max-memory=16"),
            ],
        ),
        (
            ["sweep", "tiny", "--num-layers", "-1", "--max-seq-length", "64", "-c", "lora.yaml"],
            [
                *("--yourai-model=tiny", "--yourai-config=lora.yaml"),
                *("--yourai-num-layers=-1", "--yourai-seq-length=64"),
            ],
        ),
        (
            ["sweep", "tiny", "-vv", "-k", "batch1 or batch2", "-x", "--lf", "--co", "--", "-rA"],
            [
                *("--yourai-model=tiny", "-v", "-v", "-k", "batch1 or batch2", "-x", "--lf"),
                *("--co", "-rA"),
            ],
        ),
        (["models", "a", "b"], ["--yourai-benchmark", "--yourai-model=a", "--yourai-model=b"]),
        (
            ["fit", "a", "--memory=16"],
            ["--yourai-recommend", "--yourai-model=a", "--yourai-max-memory=16"],
        ),
        (
            ["optimize", "--model=a b", "--model", "c/d", "--", "-k", "batch1", "--", "x"],
            ["--yourai-model=a b", "--yourai-model=c/d", "-k", "batch1", "--", "x"],
        ),
        (["optimize", "--replay", "p.json"], ["--yourai-replay=p.json"]),
        (
            ["benchmark", "--optimize", "--max-memory", "24"],
            ["--yourai-benchmark", "--yourai-optimize", "--yourai-max-memory=24"],
        ),
        (["recommend", "--", "-q"], ["--yourai-recommend", "-q"]),
        (
            ["sweep", "tiny", "--yourai-rank", "8", "--yourai-objective=score"],
            ["--yourai-model=tiny", "--yourai-rank=8", "--yourai-objective=score"],
        ),
    ],
)
def test_a_command_is_pytest_with_our_flags(
    commands: list[list[str]],
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    expected: list[str],
) -> None:
    with pytest.raises(_ReplacedError):
        main(arguments)
    assert commands == [[sys.executable, "-P", "-m", "pytest", *expected]]
    assert capsys.readouterr().out.startswith("+ pytest ")


def test_what_only_training_needs_is_handed_on(
    commands: list[list[str]], training: list[str]
) -> None:
    with pytest.raises(_ReplacedError):
        main(["sweep", "tiny", "--iters", "600", "--rank=8", "--learning-rate=2e-5"])
    assert training == ['["--iters", "600", "--learning-rate", "2e-5"]']
    assert commands[0][4:] == ["--yourai-model=tiny", "--yourai-rank=8"]
    with pytest.raises(_ReplacedError):
        main(["fit", "tiny"])
    assert training[1:] == ["[]"]


def test_the_groups_have_each_option_of_training_once() -> None:
    grouped = [name for names in TRAIN_GROUPS.values() for name in names]
    assert sorted(grouped) == sorted(TRAIN_OPTIONS)
    measured = {flag.option.removeprefix("--yourai") for flag in FLAGS}
    handed = {TRAIN_OPTIONS[name].flag.removeprefix("-") for name in HANDED_ON}
    assert not handed & measured


def test_the_line_can_be_pasted(
    commands: list[list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(_ReplacedError):
        main(["optimize", "--model", "my model", "--", "-k", "a or b"])
    assert capsys.readouterr().out == "+ pytest '--yourai-model=my model' -k 'a or b'\n"


def test_each_flag_is_taken_by_a_command_that_it_makes_sense_for() -> None:
    takes = {command.former: command.takes for command in SHORT_COMMANDS}
    named = {flag.name for flag in FLAGS} - {"verify"}  # a command that is not pytest
    estimated = {"link-gbit", "profile"}
    assert takes["optimize"] == named - {"benchmark", "recommend", "optimize"} - estimated
    assert takes["benchmark"] == named - {"benchmark", "recommend", "replay"} - estimated
    assert takes["recommend"] < named


@pytest.mark.parametrize("command", [command.name for command in SHORT_COMMANDS])
def test_help_has_its_flags_and_names_none_of_pytest(
    capsys: pytest.CaptureFixture[str], command: str
) -> None:
    with pytest.raises(SystemExit) as ended:
        main([command, "--help"])
    assert ended.value.code == 0
    text = capsys.readouterr().out
    [takes] = [each.takes for each in SHORT_COMMANDS if each.name == command]
    # Python 3.13 names the value once, after all names of a flag.
    assert all(re.search(rf"  --{name}[ ,\n]", text) for name in takes)
    assert all(alias in text for flag in FLAGS if flag.name in takes for alias in flag.aliases)
    titles = [group.title for group in GROUPS if {flag.name for flag in group.flags} & takes]
    assert [line[:-1] for line in text.splitlines() if line[:-1] in titles] == titles
    assert "--yourai" not in text
    assert ("safe for model and budget" in " ".join(text.split())) == (command == "fit")
    assert ("from the matrix" in " ".join(text.split())) == (command != "fit")


def test_help_of_train_has_its_flags_with_their_defaults(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit):
        main(["train", "--help"])
    text = " ".join(capsys.readouterr().out.split())
    assert " Train LoRA adapters with a measured configuration. " in text
    for option in TRAIN_OPTIONS.values():
        default = option.shown_default
        assert all(flag in text for flag in (option.flag, *option.aliases))
        assert (f"{option.help} (default: {default})" if default else option.help) in text


def test_help_and_version_of_all(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    text = capsys.readouterr().out
    assert all(f"  {name}" in text for name in ("sweep", "models", "fit", "train", "show"))
    assert "optimize" not in text
    assert text.endswith("\nFor a first look, without a download: yourai sweep tiny --quick\n")
    assert main([]) == 0
    assert capsys.readouterr().out == text
    with pytest.raises(SystemExit):
        main(["--version"])
    assert capsys.readouterr().out == f"yourai {importlib.metadata.version('pytest-yourai')}\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["sweep"], "yourai sweep: add a MODEL or --config FILE or --replay PROFILE"),
        (["swep"], "yourai: unknown command swep: did you mean sweep?"),
        (["tiny"], "yourai: unknown command tiny"),
        (["sweep", "tiny", "--foo", "x"], "unknown flag --foo: put flags of pytest after --"),
        (["sweep", "tiny", "-p", "x"], "unknown flag -p: put flags of pytest after --"),
        (
            ["sweep", "tiny", "--batchsize=2"],
            "unknown flag --batchsize=2: did you mean --batch-size?",
        ),
        (["sweep", "--rank 4"], "yourai sweep: unknown flag --rank 4: did you mean --rank?"),
        (["train", "--iters 4"], "yourai train: unknown flag --iters 4: did you mean --iters?"),
        (["optimize", "--mod", "tiny"], "unknown flag --mod: did you mean --model?"),
        (
            ["models", "--replay", "x"],
            "yourai models: unknown flag --replay: put flags of",
        ),
        (["train"], "yourai train: --model is missing: name a preset, a folder or owner/name\n"),
        (
            ["train", "--model", "tiny", "--batchsize", "2"],
            "yourai train: unknown flag --batchsize: did you mean --batch-size?",
        ),
        (["train", "--model", "tiny", "--", "-q"], "yourai train: unknown flag -q"),
        (
            ["fit", "tiny", "--iters", "5"],
            "--iters: nothing is run: leave it out, or see yourai fit",
        ),
        (
            ["train", "tiny", "--epochs", "3"],
            "--epochs: mlx-lm counts steps: give --iters; a sweep",
        ),
        (["sweep", "tiny", "--num-epochs=3"], "--num-epochs: mlx-lm counts steps: give --iters"),
        (["models", "tiny", "--pick", "fastest"], "--pick: a sweep names all three answers: give"),
        (["sweep", "tiny", "--pick", "fastest"], "--pick: a sweep names all three answers: give"),
        (["train", "tiny", "--test"], "--test: no test rows are read: afterwards run"),
        (["train", "tiny", "--iter", "5"], "unknown flag --iter: did you mean --iters?"),
        (["train", "tiny", "--model", "a"], "yourai train: tiny is one model too many: name one"),
        (["train", "tiny", "--batch", "2", "b"], "yourai train: b is one model too many"),
        (["train", "a\0"], "'a\\x00' is not valid: a path must have no null characters"),
        (["sweep", "tiny", "--train"], "yourai sweep: --train: a sweep only measures: leave"),
        (["sweep", "tiny", "--iters", "0"], "yourai sweep: --max-steps: '0' is not valid"),
        (
            ["sweep", "tiny", "--iters", "9", "--lora-config", "x"],
            "--lora-config: --iters would not be in it: leave one of the two out, or name a rec",
        ),
        (["train", "--model", "t", "--batch-size", "0"], "--batch-size: '0' is not valid: it must"),
        (["train", "--model", "t", "--max-steps", "9" * 30], "it must be at most 1,000,000,000"),
        (
            ["train", "--model", "t", "--learning-rate", "nan"],
            "'nan' is not valid",
        ),
        (["train", "--model", "t", "--seq-length", "1"], "a whole number of at least 2"),
        (["train", "--model", "t", "--max-memory", "-3"], "--max-memory: '-3' is not valid"),
        (["train", "--model", "t", "--quantize", "7"], "--quantize: '7' is not valid"),
        (["train", "--model", "t", "--weights", "auto"], "it must be one of local, hub, synth"),
        (["train", "--model", "t", "--data", "/gone"], "'/gone' is not valid: there is no such"),
        (["train", "--model", "t", "--data", __file__], "it is a file: name its folder"),
        (["train", "--model", "t", "--seed", "-1"], "--seed: '-1' is not valid"),
    ],
)
def test_a_mistake_is_one_sentence_and_status_2(
    capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    with pytest.raises(SystemExit) as ended:
        sys.exit(main(arguments))
    assert ended.value.code == 2
    errors = capsys.readouterr().err
    assert message in errors
    assert errors.count("\n") == 1


def test_a_mistake_that_the_core_finds_names_the_flags_of_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "train.jsonl").write_text('{"text": "a"}\n')
    assert main(["train", "--model", "llama-8b", "--data", "."]) == 2
    errors = capsys.readouterr().err
    assert errors.startswith("yourai train: the weights of llama-8b are not on this machine: ")
    assert "add --weights=hub" in errors
    assert "--yourai" not in errors


def test_the_script_of_the_package_is_this_one() -> None:
    project = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text())["project"]
    assert project["scripts"] == {"yourai": f"{main.__module__}:{main.__name__}"}


def test_an_interrupt_ends_it_with_status_130(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def interrupt(*_: object) -> NoReturn:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "execve", interrupt)
    assert main(["recommend"]) == 130


def test_a_path_that_is_not_utf_8_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["train", "--weights=synthetic", "--model", os.fsdecode(b"./m\xff")])
    assert ended.value.code == 2
    assert "it is not UTF-8, as MLX and JSON need it: rename it" in capsys.readouterr().err


def test_a_mistake_of_ours_shows_no_secret(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    token = "hf_" + "x" * 30

    def fail(*_: object) -> None:
        raise RuntimeError(f"401 for {token}\x1b[31m")

    monkeypatch.setattr(pkgutil, "resolve_name", lambda _: fail)
    assert main(["show", "profile.json"]) == 1
    printed = capsys.readouterr()
    assert "RuntimeError: 401 for ***" in printed.err
    assert token not in printed.err
    assert "\x1b" not in printed.err


@pytest.mark.parametrize("command", ["train", "optimize", "recommend"])
def test_a_folder_that_was_removed_is_reported(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    command: str,
) -> None:
    folder = tmp_path / "gone"
    folder.mkdir()
    monkeypatch.chdir(folder)
    folder.rmdir()
    assert main([command, "--model", "tiny"]) == 2
    assert capsys.readouterr().err == (
        f"yourai {command}: the current folder was removed: change to another\n"
    )

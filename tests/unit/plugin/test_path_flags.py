"""Every flag that takes a path: whatever lies there, the answer is one sentence."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from pytest_yourai.cli.main import main
from pytest_yourai.core.errors import InputError
from pytest_yourai.plan.flag_types import Flag
from pytest_yourai.plan.flags import FLAGS
from pytest_yourai.plan.stages import make_run_plan
from pytest_yourai.plugin.read_options import read_options
from pytest_yourai.report.output_files import check_output_files
from pytest_yourai.store.journal import Journal
from pytest_yourai.training.options import TRAIN_OPTIONS

_PATHS = ("FILE", "PATH", "PROFILE")

PATH_FLAGS = [flag for flag in FLAGS if flag.metavar in _PATHS or flag.name == "model"]

OUTPUTS = {"output", "log", "lora-config", "report", "markdown"}


def loop(path: Path) -> None:
    path.symlink_to(path.with_name("b"))
    path.with_name("b").symlink_to(path)


def through_a_loop(path: Path) -> Path:
    loop(path)
    return path / "file"


def too_long(path: Path) -> Path:
    return path.with_name("n" * 300)


def too_deep(path: Path) -> Path:
    return path.joinpath(*["deep"] * 1000)


def to(device: str) -> Callable[[Path], None]:
    return lambda path: path.symlink_to(device)


def device(name: str) -> Callable[[Path], Path]:
    return lambda _: Path(name)


def through_a_file(path: Path) -> Path:
    path.write_text("")
    return path / "file"


def endless(path: Path) -> None:
    path.touch()
    os.truncate(path, 1 << 40)


def folder_of_pipes(path: Path) -> None:
    path.mkdir()
    for name in ("config.json", "train.jsonl"):
        os.mkfifo(path / name)


PLACES = {
    "loop": loop,
    "through a loop": through_a_loop,
    "too long": too_long,
    "too deep": too_deep,
    "/dev/zero": device("/dev/zero"),
    "/dev/full": device("/dev/full"),
    "link to /dev/zero": to("/dev/zero"),
    "link to /dev/full": to("/dev/full"),
    "pipe": os.mkfifo,
    "folder": os.mkdir,
    "folder of pipes": folder_of_pipes,
    "through a file": through_a_file,
    "endless file": endless,
}

TAKEN = {
    *(("endless file", name) for name in OUTPUTS),
    *((place, "train --adapter-path") for place in ("folder", "folder of pipes")),
}
"""To write to a large file, in its place, or into a folder, is no mistake."""


def refusal(config: pytest.Config, flag: Flag, path: Path) -> str | None:
    """What pytest is told to print; None where it would begin."""
    setattr(config.option, flag.key, [str(path)])
    try:
        plan = make_run_plan(read_options(config))
        check_output_files(plan.options)
        Journal(plan.options.log).close()
    except InputError as problem:
        return str(problem)
    return None


@pytest.mark.parametrize("flag", PATH_FLAGS, ids=lambda flag: flag.name)
def test_a_sweep_refuses_it_in_one_sentence(pytester: pytest.Pytester, flag: Flag) -> None:
    config = pytester.parseconfig("--yourai-model=tiny", "--quick")
    for number, (place, make) in enumerate(PLACES.items()):
        path = pytester.mkdir(str(number)) / "a"
        said = refusal(config, flag, make(path) or path)
        if (place, flag.name) in TAKEN:
            assert said is None, place
        else:
            assert_sentence(said, place)


def assert_sentence(said: str | None, place: str) -> None:
    assert said is not None, place
    assert "\n" not in said, place
    assert "Error" not in said, (place, said)
    assert len(said) < 7000, place


COMMANDS: dict[str, Callable[[str], list[str]]] = {
    "show": lambda path: ["show", path],
    "report": lambda path: ["report", path, "-o", "page.html"],
    "report -o": lambda path: ["report", "profile.json", "-o", path],
    "compare": lambda path: ["compare", path, path],
    **{
        f"train {option.flag}": lambda path, flag=option.flag: [  # type: ignore[misc]
            "train",
            "--model=tiny",
            "--weights=synthetic",
            f"{flag}={path}",
        ]
        for option in TRAIN_OPTIONS.values()
        if option.metavar in {*_PATHS, "FOLDER"} or option.flag == "--model"
    },
}


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_refuses_it_in_one_sentence(
    command: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    for number, (place, make) in enumerate(PLACES.items()):
        if (place, command) in TAKEN:
            continue
        path = tmp_path / str(number) / "a"
        path.parent.mkdir()
        try:
            assert main(COMMANDS[command](str(make(path) or path))) == 2, place
        except SystemExit as end:
            assert end.code == 2, place  # noqa: PT017 - some are refused by argparse
        [said] = capsys.readouterr().err.splitlines()
        assert_sentence(said, place)


def test_a_loop_in_the_ini_file_is_refused_too(pytester: pytest.Pytester) -> None:
    loop(pytester.path / "a")
    pytester.makeini("[pytest]\nyourai_model = a\n")
    with pytest.raises(pytest.UsageError, match="^a is neither a preset nor a folder"):
        pytester.parseconfigure("--collect-only")

"""Every command of README, start and guides is run, and prints what is shown below it."""

from __future__ import annotations

import json
import os
import re
import shutil
import warnings
from pathlib import Path

import pytest
import yaml

from pytest_yourai.cli.commands import OF_PYTEST, make_parsers
from pytest_yourai.cli.main import main

from support.documented import PAGES, ROOT, Shown, commands, lacking
from support.models import TINY, make_model, write_rows
from support.profiles import document, larger, slower
from support.scripted_engine import STEP_VARIABLE

DATA = ROOT / "tests" / "data"
ALL = [each for page in PAGES for each in commands(page)]
LEFT_OUT = yaml.safe_load((DATA / "commands_not_run.yaml").read_text(encoding="utf-8"))

pytestmark = pytest.mark.xdist_group("documented")


def is_left_out(words: list[str]) -> bool:
    """Also `pytest` alone, which runs the tests of the checkout."""
    return words == ["pytest"] or any(
        " ".join(words).startswith(each["starts"]) for each in LEFT_OUT
    )


RUN = [each for each in ALL if not all(map(is_left_out, each.parts()))]
WHOLE = [each for each in RUN if each.output is not None]
BEGUN = [each for each in RUN if each.output is None]


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the commands name: models, rows, profiles, recipes and tests."""
    folder = tmp_path_factory.mktemp("workshop")
    for name in ("my-model", "model", "FOLDER"):
        make_model(folder / name, TINY)
    for name in ("my-data", "data", "chat"):
        write_rows(folder / name, [{"text": "fox " * (4 + row % 40)} for row in range(300)])
    profile = document(lambda found: found.update(model="tiny"))
    (folder / "runs").mkdir()
    for name in ("old", "mac", "runs/one"):
        (folder / f"{name}.json").write_text(json.dumps(profile))
    for change in (larger(1.08, -2, -1), slower(1.22)):
        change(profile)
    (folder / "new.json").write_text(json.dumps(profile))
    shutil.copy(DATA / "h200_benchmark_24gb.json", folder / "benchmark_results.json")
    (folder / "lora.yaml").write_text("model: tiny\nbatch_size: 2\nnum_layers: 2\n")
    (folder / "profiles").mkdir()
    [shared, *_] = sorted((ROOT / "community" / "profiles").glob("*.json"))
    for copy in ("shared.json", "profiles/mine.json"):
        shutil.copy(shared, folder / copy)
    hosts = [{"ssh": f"mac{number}", "ips": [f"10.0.0.{number}"]} for number in (1, 2)]
    (folder / "hosts.json").write_text(json.dumps(hosts))
    (folder / "mine.yaml").write_text("mine: {path: ./my-model}\n")
    [test, *_] = re.findall(
        r"(?ms)^```python\n(.*?)^```", (ROOT / "docs" / "guides" / "own-tests.md").read_text()
    )
    (folder / "test_mine.py").write_text(test)
    return folder


def make_compared(folder: Path, model: str) -> None:
    """The profiles that commands compare, and that sweeps of `model` are compared with."""
    text = (DATA / "h200_llama8b_quick.json").read_text(encoding="utf-8")
    for name in ("last", "now", "optimal_config"):
        (folder / f"{name}.json").write_text(text.replace("llama-8b", model))


@pytest.fixture
def here(pytester: pytest.Pytester, workshop: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The workshop, as the current folder."""
    monkeypatch.chdir(workshop)
    return workshop


class _BecomesPytest(BaseException):
    """Raised where the process would be replaced."""


def arguments_of_pytest(words: list[str], monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Those that `yourai` would start pytest with."""
    started: list[list[str]] = []

    def become(_: str, process: list[str], environment: dict[str, str]) -> None:
        started.append(process)
        for name in environment.keys() - os.environ.keys():
            monkeypatch.setenv(name, environment[name])
        raise _BecomesPytest

    with monkeypatch.context() as patch:
        patch.setattr(os, "execve", become)
        with pytest.raises(_BecomesPytest):
            main(words)
    [process] = started
    return process[process.index("pytest") + 1 :]


def test_commands_that_are_not_run_are_few_and_there() -> None:
    lines = [" ".join(part) for each in ALL for part in each.parts()]
    assert all(any(line.startswith(each["starts"]) for line in lines) for each in LEFT_OUT)
    assert all(each["why"] for each in LEFT_OUT)
    assert len(RUN) > 4 * (len(ALL) - len(RUN))


SWEEP = "pytest --yourai-model=tiny --quick"


class Shell:
    """Runs commands in the workshop, each once."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._printed: dict[str, str] = {}
        self._profile = ""

    def run(self, shown: Shown, request: pytest.FixtureRequest) -> str:
        """What the command prints."""
        if shown.command not in self._printed:
            self._prepare(shown, request)
            self._printed[shown.command] = run(shown, request)
            if shown.command == SWEEP:
                self._profile = (self._folder / "optimal_config.json").read_text()
        return self._printed[shown.command]

    def _prepare(self, shown: Shown, request: pytest.FixtureRequest) -> None:
        """Leave nothing that a sweep would keep, and the sweep that training asks for."""
        profile = self._folder / "optimal_config.json"
        profile.unlink(missing_ok=True)
        if "--profile" in shown.command:
            self.run(Shown(shown.page, SWEEP), request)
            profile.write_text(self._profile)


@pytest.fixture(scope="module")
def shell(workshop: Path) -> Shell:
    return Shell(workshop)


def run(shown: Shown, request: pytest.FixtureRequest) -> str:
    pytester = request.getfixturevalue("pytester")
    monkeypatch = request.getfixturevalue("monkeypatch")
    capsys = request.getfixturevalue("capsys")
    capsys.readouterr()
    [[program, *words]] = shown.parts()
    if program == "yourai" and words[0] in OF_PYTEST:
        words = arguments_of_pytest(words, monkeypatch)
        program = "pytest"
    elif program == "yourai":
        main(words)
    printed: str = capsys.readouterr().out
    return (
        printed
        if program == "yourai"
        else printed + pytester.runpytest_inprocess(*words).stdout.str()
    )


@pytest.mark.parametrize("shown", WHOLE, ids=lambda shown: shown.name)
def test_the_output_has_the_shape_that_is_shown(
    shown: Shown,
    here: Path,
    shell: Shell,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    make_compared(here, "tiny")
    monkeypatch.setenv(STEP_VARIABLE, "0.01")
    monkeypatch.setenv("COLUMNS", "80")
    if "training on Metal" in "\n".join(shown.output or ()):
        monkeypatch.setattr("pytest_yourai.plan.recommend.installed_backend", lambda: "metal")
    printed = shell.run(shown, request)
    assert lacking(shown.output or (), printed.splitlines()) is None, printed


@pytest.mark.parametrize("shown", BEGUN, ids=lambda shown: shown.name)
def test_the_command_is_one_that_can_be_given(
    shown: Shown,
    here: Path,
    pytester: pytest.Pytester,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    make_compared(here, "llama-8b")
    for program, *words in shown.parts():
        if is_left_out([program, *words]):
            continue
        assert program in ("pytest", "yourai")
        if program == "yourai" and words[0] in OF_PYTEST:
            run_up_to_the_trials(pytester, arguments_of_pytest(words, monkeypatch))
        elif program == "pytest":
            run_up_to_the_trials(pytester, words)
        elif words[0] == "train":
            _, parsers = make_parsers("train")
            parsers["train"].parse_args(words[1:])
        else:
            assert main(words) == 0, capsys.readouterr().err


def run_up_to_the_trials(pytester: pytest.Pytester, words: list[str]) -> None:
    with warnings.catch_warnings():
        # pytest-benchmark warns where nothing is to be saved.
        warnings.simplefilter("ignore")
        done = pytester.runpytest_inprocess("--collect-only", "-q", *words)
    assert done.ret == 0 or "--yourai-recommend" in words, done.stderr.str()
    assert "Traceback" not in done.stderr.str()

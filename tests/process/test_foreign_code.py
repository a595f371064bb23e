"""Python code in a model or data folder is not run, however the folder is named."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import pytest_yourai

from support.models import make_model
from support.processes import finish, started

FAULT = "code in a model or data folder"

EVIL = (
    "import os, pathlib\npathlib.Path(os.environ['EVIL_RAN']).open('a').write(__file__ + '\\n')\n"
)

# Of pytest's, Python's and the worker's imports, and of those that a model may name.
MODULES = """
    conftest evilplugin sitecustomize usercustomize pytest psutil pytest_yourai numpy mlx mlx_lm
    datasets transformers tokenizers evil_model evil_tokenizer
""".split()  # noqa: SIM905

INI = "addopts = -p evilplugin\npythonpath = .\nyourai_trust_remote_code = true\n"

SETTINGS = {
    "pytest.ini": f"[pytest]\n{INI}",
    ".pytest.ini": f"[pytest]\n{INI}",
    "tox.ini": f"[pytest]\n{INI}",
    "setup.cfg": f"[tool:pytest]\n{INI}",
    "pytest.toml": '[pytest]\naddopts = ["-p", "evilplugin"]\npythonpath = ["."]\n',
    "pyproject.toml": '[tool.pytest]\naddopts = ["-p", "evilplugin"]\npythonpath = ["."]\n',
}

ONE = "batch_size: [1]\nlora_rank: [4]\nlora_layers: [2]\n"

# As `pytest` starts where the package is installed: Python reads the package's .pth first.
PYTEST = (
    "import site, sys; "
    f"site.addsitedir({str(Path(pytest_yourai.__file__).parents[1])!r}); "
    "import pytest; sys.exit(pytest.main())"
)


def plant(folder: Path, *settings: str) -> None:
    folder.mkdir(exist_ok=True)
    for name in MODULES:
        (folder / f"{name}.py").write_text(EVIL)
    (folder / "tests").mkdir()
    (folder / "tests" / "conftest.py").write_text(EVIL)
    for name in settings:
        (folder / name).write_text(SETTINGS[name])


@pytest.fixture
def ran(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file with the planted modules that were run."""
    monkeypatch.setenv("EVIL_RAN", str(tmp_path / "ran"))
    (tmp_path / "one.yaml").write_text(ONE)
    (tmp_path / "one-model.yaml").write_text("model: .\n")
    return tmp_path / "ran"


def run(folder: Path, *command: str) -> tuple[str, int]:
    with started([sys.executable, *command], folder) as process:
        return finish(process), process.returncode


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param(tuple(SETTINGS), id="all"),
        *(pytest.param((each,), id=each, marks=pytest.mark.nightly) for each in SETTINGS),
    ],
)
def test_no_settings_are_taken_from_a_folder_that_a_flag_names(
    tmp_path: Path, ran: Path, settings: tuple[str, ...], survived: Callable[[str], None]
) -> None:
    plant(tmp_path / "model", *settings)
    (tmp_path / "model" / "config.json").write_text("{}")
    (tmp_path / "model" / "train.jsonl").write_text('{"text": "a fox"}\n')
    # Until pytest finds that {} describes no model.
    output, status = run(
        tmp_path, "-c", PYTEST, "--yourai-model", "./model", "--yourai-data", "./model", "--co"
    )
    assert status == 4
    assert "config.json" in output
    assert not ran.exists()
    survived(FAULT)


@pytest.mark.parametrize(
    "spelling",
    [
        ("--yourai-model=.",),
        ("--yourai-data=.", "--yourai-model=tiny"),
        ("--yourai-config=../one-model.yaml",),
    ],
)
def test_pytest_started_in_such_a_folder_is_refused(
    tmp_path: Path, ran: Path, spelling: tuple[str, ...], survived: Callable[[str], None]
) -> None:
    folder = tmp_path / "model"
    plant(folder)
    (folder / "config.json").write_text("{}")
    (folder / "train.jsonl").write_text('{"text": "a fox"}\n')
    output, status = run(folder, "-P", "-m", "pytest", *spelling)
    assert status == 4
    assert output.startswith(f"ERROR: {folder / 'conftest.py'} is in a model or data folder")
    assert len(output.strip().splitlines()) == 1
    assert not ran.exists()
    survived(FAULT)


def test_settings_that_were_taken_before_the_plugin_was_there_are_refused(
    pytester: pytest.Pytester,
) -> None:
    model = pytester.mkdir("model")
    (model / "config.json").write_text("{}")
    (model / "pytest.ini").write_text("[pytest]\naddopts = -q\nyourai_trust_remote_code = true\n")
    done = pytester.runpytest_inprocess("--yourai-model", "./model", "--co")
    assert done.ret == 4
    done.stderr.fnmatch_lines(["ERROR: *pytest.ini is in a model or data folder*"])
    trusted = ("--yourai-model", "./model", "--yourai-trust-remote-code", "--co")
    pytester.runpytest_inprocess(*trusted).stderr.no_fnmatch_line("*data folder*")


def test_modules_on_pythonpath_are_refused_there(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, survived: Callable[[str], None]
) -> None:
    model = pytester.mkdir("model")
    (model / "config.json").write_text("{}")
    monkeypatch.setenv("PYTHONPATH", f"{pytester.path}{os.pathsep}./model/lib")
    done = pytester.runpytest_inprocess("--yourai-model", "./model", "--co")
    assert done.ret == 4
    done.stderr.fnmatch_lines(["ERROR: PYTHONPATH has ./model/lib, which is in a model*"])
    monkeypatch.setenv("PYTHONPATH", str(pytester.path))
    done = pytester.runpytest_inprocess("--yourai-model", "./model", "--co")
    done.stderr.no_fnmatch_line("*PYTHONPATH*")
    survived(FAULT)


def test_models_of_a_list_count(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, survived: Callable[[str], None]
) -> None:
    model = pytester.mkdir("model")
    (model / "config.json").write_text("{}")
    (model / "conftest.py").write_text("raise SystemExit('it ran')")
    (pytester.path / "list.yaml").write_text("mine: {path: model}\n")
    monkeypatch.chdir(model)
    done = pytester.runpytest_inprocess("--yourai-benchmark", "--yourai-models=../list.yaml")
    assert done.ret == 4
    done.stderr.fnmatch_lines(["ERROR: *conftest.py is in a model or data folder*of their own*"])
    survived(FAULT)


def test_a_projects_own_settings_are_taken(pytester: pytest.Pytester) -> None:
    pytester.makeini("[pytest]\nyourai_steps = nonsense\n")
    model = pytester.mkdir("model")
    (model / "config.json").write_text("{}")
    (model / "pyproject.toml").write_text("[project]\nname = 'a'\n")
    done = pytester.runpytest_inprocess("--yourai-model=model", "--co")
    done.stderr.fnmatch_lines(["ERROR: *yourai_steps: 'nonsense' is not valid*"])


def test_a_project_may_have_its_own_data_beside_its_settings(pytester: pytest.Pytester) -> None:
    pytester.makeini("[pytest]\nyourai_data = .\n")
    pytester.makeconftest("")
    pytester.makepyfile("def test_it(): pass")
    (pytester.path / "train.jsonl").write_text('{"text": "a fox"}\n')
    pytester.runpytest_inprocess().assert_outcomes(passed=1)
    refused = pytester.runpytest_inprocess("-o", "yourai_data=.")
    refused.stderr.fnmatch_lines(["ERROR: *is in a model or data folder*"])


@pytest.mark.real_engine
@pytest.mark.parametrize("settings", [(), ("pytest.ini",)], ids=["", "pytest.ini"])
def test_the_yourai_command_runs_none_in_the_models_folder(
    tmp_path: Path, ran: Path, settings: tuple[str, ...], survived: Callable[[str], None]
) -> None:
    folder = make_model(tmp_path / "model")
    plant(folder, *settings)
    (folder / "train.jsonl").write_text('{"text": "a fox"}\n' * 4)
    config = json.loads((folder / "config.json").read_text())
    config["auto_map"] = {"AutoModelForCausalLM": "evil_model.Model", "AutoConfig": "evil_model.C"}
    (folder / "config.json").write_text(json.dumps(config))
    yourai = Path(sys.executable).with_name("yourai")
    flags = ("--model=.", "--data=.", f"--matrix={tmp_path / 'one.yaml'}", "--steps=2")
    output, status = run(folder, str(yourai), "optimize", *flags)
    assert not ran.exists(), ran.read_text()
    if settings:
        assert status == 4
        assert "pytest.ini is in a model or data folder" in output
    else:
        assert status == 0, output
    survived(FAULT)

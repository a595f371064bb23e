"""What is checked, by name. `nox --list` shows the sessions; CI and `.ci/run` call them, too.

`nox -s unit` makes an environment; `nox --no-venv -s unit` runs in the one that is active. What
follows `--` goes to pytest, or names the folder of `build` and `wheel`.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

import nox

nox.needs_version = ">=2025.5.1"
nox.options.default_venv_backend = "uv|virtualenv"
nox.options.reuse_venv = "yes"
nox.options.sessions = ["lint", "unit"]

ROOT = Path(__file__).parent
BACKEND = "cpu" if sys.platform == "linux" else ""
TESTS = f".[{BACKEND},test]"
BESIDE_EACH_OTHER = ("--dist", "loadgroup")
MLX_LM = "https://github.com/ml-explore/mlx-lm"
TIERS = ("tests/engine", "tests/browser", "tests/process")
FOR_THE_WHEEL = ("sweep", "report")


@nox.session
def lint(session: nox.Session) -> None:
    """What .pre-commit-config.yaml has, on all files; SKIP leaves out the hooks that it names."""
    install(session, "-e", TESTS)
    session.run("pre-commit", "run", "--all-files", "--show-diff-on-failure", *session.posargs)


@nox.session
def unit(session: nox.Session) -> None:
    """The unit tests; with no arguments also what they run of each package."""
    install(session, "-e", TESTS)
    with tempfile.TemporaryDirectory() as folder:
        measured = {"COVERAGE_FILE": f"{folder}/coverage"}
        command = ("coverage", "run", "-m", "pytest", "-n", "2", *BESIDE_EACH_OTHER, "tests/unit")
        run_tests(session, *command, *session.posargs, env=measured)
        if session.posargs:
            # Arguments may leave tests out.
            return
        session.run("coverage", "combine", "--quiet", env=measured)
        report = os.environ.get("YOURAI_COVERAGE", f"{folder}/coverage.json")
        session.run("coverage", "json", "--quiet", "-o", report, env=measured)
        session.run("python", ".ci/coverage_by_package.py", report)


@nox.session
def lowest(session: nox.Session) -> None:
    """The unit tests with the lowest versions that pyproject.toml allows."""
    with tempfile.TemporaryDirectory() as folder:
        pins = f"{folder}/lowest.txt"
        uv = (
            "uv",
            "pip",
            "compile",
            "--quiet",
            "pyproject.toml",
            "--python",
            f"{session.bin}/python",
        )
        only = ("--resolution", "lowest-direct", "--only-binary", ":all:", "-o", pins)
        extra = ("--extra", BACKEND) if BACKEND else ()
        session.run_install(*uv, *extra, *only, external=True)
        session.install("-c", pins, "-e", TESTS)
    run_tests(session, "pytest", "-n", "2", *BESIDE_EACH_OTHER, "tests/unit", *session.posargs)


@nox.session
def engine(session: nox.Session) -> None:
    """The tests of MLX and mlx-lm in their process."""
    install_fast(session)
    run_tiers(session, "tests/engine")


@nox.session
def process(session: nox.Session) -> None:
    """The tests of workers, and of pytest in pytest."""
    install_fast(session)
    run_tiers(session, "tests/process")


@nox.session
def browser(session: nox.Session) -> None:
    """The tests of the HTML page in Chromium."""
    install_fast(session)
    run_tiers(session, "tests/browser")


@nox.session
def tiers(session: nox.Session) -> None:
    """The tests of engine, process and browser, beside each other."""
    install_fast(session)
    run_tiers(session, *TIERS)


@nox.session
def alone(session: nox.Session) -> None:
    """The tests that change what the whole machine has, which others would measure."""
    install_fast(session)
    run_tests(session, "pytest", "-m", "alone", "tests/process", *session.posargs, env=fast_blas())


@nox.session
def quick(session: nox.Session) -> None:
    """The README's command, in an empty folder."""
    install_fast(session)
    with tempfile.TemporaryDirectory() as folder, session.chdir(folder):
        session.run("pytest", "--yourai-model", "tiny", "--quick", env=fast_blas())


@nox.session
def cpu(session: nox.Session) -> None:
    """The tests of the engine, of a process's memory and the README's command, on MLX's CPU.

    For a machine whose GPU is not to be trusted, such as a hosted Mac.
    """
    install_fast(session)
    on_cpu = {"YOURAI_TEST_ON_CPU": "1", **fast_blas()}
    tests = ("tests/engine", "tests/process/test_process_memory.py")
    run_tests(session, "pytest", "-n", "2", *tests, *session.posargs, env=on_cpu)
    on_cpu["YOURAI_TEST_ENGINE"] = "support.cpu_engine:cpu_engine"
    on_cpu["PYTHONPATH"] = str(ROOT / "tests")
    with tempfile.TemporaryDirectory() as folder, session.chdir(folder):
        session.run("pytest", "--yourai-model", "tiny", "--quick", env=on_cpu)


@nox.session
def real_engine(session: nox.Session) -> None:
    """What runs by night alone, and the process tests with MLX also where a script would do."""
    install_fast(session)
    run_tiers(session, *TIERS, selected="nightly and not alone")
    run_tiers(session, "tests/process", "--real-engine", selected="not alone")


@nox.session
def mlx_lm_main(session: nox.Session) -> None:
    """The tests of engine and process with mlx-lm as it is on its main branch."""
    session.install("-e", TESTS)
    session.install("--no-deps", "--force-reinstall", f"mlx-lm @ git+{MLX_LM}")
    run_tiers(session, "tests/engine", "tests/process", selected="not alone")


@nox.session
def company(session: nox.Session) -> None:
    """Sweeps beside other plugins of pytest."""
    install(session, "-e", f".[{BACKEND},company]")
    session.run("python", "tests/attacks/plugins.py")


@nox.session
def docs(session: nox.Session) -> None:
    """The site of the documentation; a link or an anchor that leads nowhere is an error."""
    install(session, "-e", ".[docs]")
    with tempfile.TemporaryDirectory() as folder:
        session.run(
            "mkdocs",
            "build",
            "--strict",
            "--quiet",
            "--site-dir",
            folder,
            env={"NO_MKDOCS_2_WARNING": "1"},
        )


@nox.session
def build(session: nox.Session) -> None:
    """The wheel and the sdist, whole and reproducible; `-- FOLDER` names where they go."""
    install(session, "uv")
    session.run("python", ".ci/build.py", *(session.posargs or ["dist"]))


@nox.session
def wheel(session: nox.Session) -> None:
    """Some of the tests, with the built wheel; `-- FOLDER` names where it is.

    What a wheel can lack is modules, packaged files and the entry point. All else it shares with
    the checkout, and would only take its time twice.
    """
    [built] = Path(session.posargs[0] if session.posargs else "dist").resolve().glob("*.whl")
    # With what a user has, and what the few tests need that run there.
    session.install(f"{built}[{BACKEND}]" if BACKEND else str(built), "hypothesis", "pytest-xdist")
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree("tests", f"{folder}/tests")
        shutil.copy("pyproject.toml", folder)
        with session.chdir(folder):
            session.run("yourai", "--version")
            few = (
                "tests/unit/models/test_presets.py",
                *(f"tests/process/test_{name}.py" for name in FOR_THE_WHEEL),
            )
            run_tests(session, "pytest", "-n", "2", *BESIDE_EACH_OTHER, *few, env=fast_blas())


def run_tiers(
    session: nox.Session, *folders: str, selected: str = "not alone and not nightly"
) -> None:
    """Many of these tests wait: more of them than processors run at once.

    Without coverage: measuring every worker and every pytest in pytest doubles their time.
    """
    command = ("pytest", "-n", "4", *BESIDE_EACH_OTHER, "-m", selected, *folders)
    run_tests(session, *command, *session.posargs, env=fast_blas())


def run_tests(session: nox.Session, *command: str, env: Mapping[str, str] | None = None) -> None:
    """Ctrl-C gets its time: a test may have swap to take away."""
    session.run(*command, env=env, interrupt_timeout=60, terminate_timeout=30)


def install(session: nox.Session, *what: str) -> None:
    """Into the environment of the session, unless it runs in the one that is active."""
    if session.venv_backend != "none":
        session.install(*what)


def install_fast(session: nox.Session) -> None:
    """What the tests need, where MLX compiles kernels for the CPU in a sixth of the time."""
    install(session, "-e", TESTS)
    session.run("python", ".ci/precompile_mlx.py")


def fast_blas() -> dict[str, str]:
    """MLX for the CPU brings the reference BLAS, with which its steps take 2 to 3 times as long."""
    found = sorted(Path("/usr/lib").glob("*/openblas-serial/libopenblas.so.0"))
    return {"LD_PRELOAD": str(found[0])} if found else {}

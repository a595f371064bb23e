"""What lies in the project or stands in the shell changes neither what runs nor where."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from support.broken_mpi import make_broken_mpi
from support.processes import SweepRun

PLANTED = ("numpy", "mlx_lm", "datasets", "yaml", "transformers")


@pytest.mark.real_engine
def test_planted_modules_and_a_broken_mpi_change_nothing(
    pytester: pytest.Pytester, sweep: SweepRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Modules beside the tests, where pytest puts the folder on the path, and on PYTHONPATH."""
    monkeypatch.setenv("MLX_MPI_LIBNAME", str(make_broken_mpi(pytester.path)))
    libraries = pytester.mkdir("libraries")
    for name in PLANTED:
        (pytester.path / f"{name}.py").write_text("raise SystemExit('the planted one')\n")
        (libraries / name).mkdir()
        (libraries / name / "__init__.py").write_text("raise SystemExit('the planted one')\n")
    (pytester.path / "datasets.py").unlink()
    pytester.mkdir("datasets")
    pytester.makeconftest("")
    earlier = os.environ.get("PYTHONPATH", "")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([earlier, str(libraries), "."]))
    done = sweep("-k", "batch1", subprocess=True)
    assert done.outcomes == ["ok"]
    assert done.ret == 0


def test_under_a_launcher_it_is_refused_and_left_variables_are_reported(
    sweep: SweepRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLX_RANK", "0")
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    done = sweep()
    assert done.outcomes == ["ok"] * 3
    done.run.stdout.fnmatch_lines(["Note: MLX_RANK in the environment: not passed on*"])
    variables = done.profile["environment"]["variables"]
    assert variables["OMP_NUM_THREADS"] == "2"
    assert "MLX_RANK" not in variables
    monkeypatch.setenv("MLX_WORLD_SIZE", "2")
    refused = sweep()
    assert refused.ret == pytest.ExitCode.USAGE_ERROR
    assert "one of 2 processes of a launcher" in refused.errors


def test_mlx_launch_of_pytest_is_refused_by_each_process(pytester: pytest.Pytester) -> None:
    launcher = Path(sys.executable).with_name("mlx.launch")
    pytest_command = [sys.executable, "-m", "pytest", "--yourai-model", "tiny"]
    done = subprocess.run(
        [launcher, "-n", "2", "--", *pytest_command],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    refusal = "ERROR: this is one of 2 processes of a launcher (MLX_HOSTFILE says so): start it"
    # It ends the other process once the first has ended.
    assert 1 <= done.stderr.count(refusal) <= 2
    assert "--yourai-hosts" in done.stderr
    assert list(pytester.path.iterdir()) == []

import os
import shutil
import sys
from pathlib import Path

import pytest

from pytest_yourai.machine import environment
from pytest_yourai.machine.power import read_power

ON_BATTERY = """Now drawing from 'Battery Power'
 -InternalBattery-0 (id=12345678)\t87%; discharging; 5:12 remaining present: true
"""


def program(folder: Path, name: str, script: str) -> None:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def test_on_a_mac_its_own_programs_are_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program(tmp_path, "sysctl", "echo 'Apple M3 Max'")
    program(tmp_path, "pmset", f"[ $# = 2 ] && echo \"{ON_BATTERY}\" || echo ' lowpowermode 1'")
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert environment.chip("darwin") == "Apple M3 Max"
    power = read_power("darwin")
    assert (power.source, power.charge_percent, power.low_power_mode) == ("battery", 87, True)


def test_a_mac_is_kept_awake_for_this_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program(tmp_path, "caffeinate", f'echo "$@" > {tmp_path}/called; exec sleep 60')
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    process = environment.keep_awake("darwin")
    assert process is not None
    try:
        while not (tmp_path / "called").is_file() or not (tmp_path / "called").read_text():
            assert process.poll() is None
        assert (tmp_path / "called").read_text().split() == ["-i", "-m", "-w", str(os.getpid())]
    finally:
        process.terminate()
        process.wait()


def test_elsewhere_nothing_is_started() -> None:
    assert environment.keep_awake("linux") is None
    assert read_power("linux").low_power_mode is None


def test_this_machine_has_a_chip_and_versions() -> None:
    found = environment.machine_info()
    assert found["chip"]
    assert {"python", "pytest-yourai", "mlx-lm"} <= set(found["versions"])


@pytest.mark.skipif(sys.platform != "darwin", reason="asks a real Mac")
def test_a_real_mac_has_a_power_source() -> None:
    assert read_power().source in ("battery", "mains", None)
    assert shutil.which("caffeinate")


def test_variables_that_measurements_depend_on_are_kept() -> None:
    values = {"OMP_NUM_THREADS": "2", "MLX_DISABLE_COMPILE": "1", "MLX_RANK": "0", "HOME": "/root"}
    assert environment.variables(values) == {"MLX_DISABLE_COMPILE": "1", "OMP_NUM_THREADS": "2"}


@pytest.mark.skipif(sys.platform == "darwin", reason="a Mac has Metal")
@pytest.mark.parametrize(("package", "backend"), [("mlx_cuda_13", "cuda"), ("mlx_cpu", "cpu")])
def test_the_backend_is_known_by_what_is_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: str, backend: str
) -> None:
    (tmp_path / f"{package}-0.32.4.dist-info").mkdir()
    monkeypatch.setattr(sys, "path", [str(tmp_path), str(tmp_path / "absent")])
    assert environment.installed_backend.__wrapped__() == backend

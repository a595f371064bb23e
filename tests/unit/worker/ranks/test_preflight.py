import dataclasses
import sys

import pytest

from pytest_yourai.core.device import DeviceInfo
from pytest_yourai.core.errors import ConnectError
from pytest_yourai.worker.ranks.preflight import check_devices, check_files, check_versions
from pytest_yourai.worker.ranks.ssh_check import explain
from pytest_yourai.worker.ranks.wire import Hello

VERSIONS = {"python": "3.12.4", "mlx": "0.32.4", "mlx-lm": "0.32.2", "pytest-yourai": "0.1"}
FIRST = Hello("t", 0, 10, "studio", VERSIONS, 100, 90)
SECOND = Hello("t", 1, 11, "mini", VERSIONS, 100, 90)
CPU = DeviceInfo("cpu", "x", None, None, "0.32.4", "0.32.2")


def other(**versions: str) -> Hello:
    return dataclasses.replace(SECOND, versions=VERSIONS | versions)


def test_equal_ranks_pass() -> None:
    check_versions([FIRST, SECOND])
    check_versions([FIRST, other(python="3.12.9")])
    check_devices([FIRST, SECOND], [CPU, CPU])
    check_files([FIRST, SECOND], ["a", "a"], "/models/m")


@pytest.mark.parametrize(
    ("name", "version"),
    [("python", "3.11.4"), ("mlx", "0.31.0"), ("mlx-lm", "0.32.1"), ("pytest-yourai", "0.2")],
)
def test_another_version_is_named_with_both_hosts(name: str, version: str) -> None:
    short = version.rpartition(".")[0] if name == "python" else version
    with pytest.raises(ConnectError, match=rf"rank 1 \(mini\) has {name} {short}, and rank 0"):
        check_versions([FIRST, other(**{name: version})])


def test_a_package_that_is_missing_is_named() -> None:
    without = {name: each for name, each in VERSIONS.items() if name != "mlx"}
    with pytest.raises(ConnectError, match=r"has mlx \(none\), and .* 0.32.4: install the same"):
        check_versions([FIRST, dataclasses.replace(SECOND, versions=without)])


def test_another_backend_is_refused() -> None:
    metal = dataclasses.replace(CPU, backend="metal")
    with pytest.raises(ConnectError, match=r"rank 1 \(mini\) runs on metal, and rank 0 \(studio\)"):
        check_devices([FIRST, SECOND], [CPU, metal])


def test_other_files_of_the_model_are_refused() -> None:
    with pytest.raises(ConnectError, match=r"rank 1 \(mini\) has no folder /models/m: copy"):
        check_files([FIRST, SECOND], ["a", None], "/models/m")
    with pytest.raises(ConnectError, match=r"rank 1 \(mini\) has other files in /models/m than"):
        check_files([FIRST, SECOND], ["a", "b"], "/models/m")


@pytest.mark.parametrize(
    ("status", "stdout", "stderr", "why"),
    [
        (255, "", "x\nssh: connect to host b port 22: No route to host", "No route to host"),
        (127, "", "bash: no such file", f"has no {sys.executable}: make the same environment"),
        (3, "mlx pytest_yourai\n", "", "lacks mlx, pytest_yourai for"),
        (1, "", "Illegal instruction", "cannot run .* \\(Illegal instruction\\)"),
        (1, "", "", "it printed nothing"),
    ],
)
def test_what_ssh_says_becomes_a_sentence(status: int, stdout: str, stderr: str, why: str) -> None:
    found = explain("b", status, stdout, stderr)
    assert found is not None
    with pytest.raises(ConnectError, match=why):
        raise ConnectError(found)
    assert found.startswith("host b ")


def test_a_host_that_answers_has_nothing_wrong() -> None:
    assert explain("b", 0, "", "") is None

"""A shell that allows few open files."""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path

import pytest

from pytest_yourai.machine.descriptors import provide_descriptors


@pytest.mark.parametrize("most", [12, 20])
@pytest.mark.parametrize(
    ("command", "status"),
    [(["pytest", "--yourai-model=tiny", "--quick"], 4), (["pytest_yourai", "show", "p"], 2)],
    ids=("pytest", "yourai"),
)
def test_too_few_are_refused_in_one_sentence(
    tmp_path: Path, most: int, command: list[str], status: int
) -> None:
    limited = ["bash", "-c", f'ulimit -n {most}; exec "$@"', "-", sys.executable, "-m", *command]
    done = subprocess.run(limited, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == status, done.stderr
    [said] = done.stderr.strip().splitlines()
    assert said.endswith("raise the limit with ulimit -n 1024")
    assert not done.stdout


def test_a_low_limit_of_the_shell_is_raised() -> None:
    earlier = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, earlier[1]))
    try:
        provide_descriptors()
        assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] >= min(1024, earlier[1])
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, earlier)

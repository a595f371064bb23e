"""Temporary folders go with their owner, or at the next start."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from pytest_yourai.core.files import scratch_folder

KILLED = """
import os, signal
from pytest_yourai.core.files import scratch_folder
with scratch_folder("soak-") as folder:
    print(folder, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture(autouse=True)
def _own_temporary_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))


def test_it_goes_at_the_end_and_leaves_that_of_another_alone(tmp_path: Path) -> None:
    with scratch_folder("soak-") as one:
        with scratch_folder("soak-") as other:
            assert Path(one).is_dir()
            assert Path(other).is_dir()
        assert [str(path) for path in tmp_path.iterdir()] == [one]
    assert not list(tmp_path.iterdir())


def test_that_of_a_killed_process_goes_at_the_next_start(tmp_path: Path) -> None:
    killed = subprocess.run(
        [sys.executable, "-c", KILLED], stdout=subprocess.PIPE, text=True, check=False
    )
    left = Path(killed.stdout.strip())
    assert left.parent == tmp_path
    (left / "adapters.safetensors").touch()
    with scratch_folder("other-"):
        assert left.is_dir()
    with scratch_folder("soak-"):
        assert not left.exists()

"""What `yourai show` prints, into pipes, disks and locales of every kind."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from support.profiles import QUICK


def show_into(stdout: int) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "pytest_yourai", "show", str(QUICK), "--format=json"]
    return subprocess.run(command, stdout=stdout, stderr=subprocess.PIPE, check=False)


def test_a_reader_that_stops_gets_no_traceback() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = show_into(writing)
    os.close(writing)
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_full_disk_is_a_failure() -> None:
    with Path("/dev/full").open("wb") as full:
        done = show_into(full.fileno())
    assert done.returncode == 2
    assert done.stderr.count(b"\n") == 1
    assert b"stdout cannot be written: No space left on device" in done.stderr


def test_text_is_utf_8_whatever_the_locale(tmp_path: Path) -> None:
    document = json.loads(QUICK.read_text())
    path = tmp_path / "p.json"
    path.write_text(json.dumps({**document, "model": "modèle"}))
    command = [sys.executable, "-m", "pytest_yourai", "show", str(path), "--format=csv"]
    done = subprocess.run(
        command,
        capture_output=True,
        check=True,
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
    )
    assert done.stdout.decode("utf-8").splitlines()[1].startswith("modèle,")

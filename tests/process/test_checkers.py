"""What other programs say of this checkout: its workflows, its scripts, its generated pages."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
GITHUB = ROOT / ".github"
LINTER = "YOURAI_ACTIONLINT"

pytestmark = pytest.mark.skipif(not GITHUB.exists(), reason="only a checkout has workflows")


def test_actionlint_finds_nothing() -> None:
    command = shlex.split(os.environ.get(LINTER, "actionlint"))
    if LINTER not in os.environ and shutil.which(command[0]) is None:
        pytest.skip(f"actionlint is not on PATH, and {LINTER} names none")
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.skipif(shutil.which("shellcheck") is None, reason="shellcheck is not on PATH")
def test_shellcheck_finds_nothing() -> None:
    scripts = [GITHUB / "benchmark.sh", ROOT / ".ci" / "run"]
    done = subprocess.run(
        ["shellcheck", "--severity=warning", *scripts], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout


def test_generated_parts_are_fresh() -> None:
    command = [sys.executable, str(ROOT / "docs" / "generate.py"), "--check"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr

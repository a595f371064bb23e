"""The projects in examples/, run as their READMEs say."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

EXAMPLES = Path(__file__).parents[2] / "examples"


def test_a_project_with_tests_of_its_own(tmp_path: Path) -> None:
    project = tmp_path / "project"
    shutil.copytree(EXAMPLES / "own-lora-tests", project)
    done = subprocess.run(
        [sys.executable, "-m", "pytest"], cwd=project, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    # Three tests of each of two configurations, which are measured once.
    assert "6 passed" in done.stdout
    assert "Outcomes:      2 ok" in done.stdout
    assert (project / "optimal_config.json").exists()

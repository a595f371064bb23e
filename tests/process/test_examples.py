"""The projects in examples/, run as their READMEs say."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from pytest_yourai.cli.main import main

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"


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


def test_a_repository_that_collects_profiles(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With what this repository collects, as its workflow does."""
    collecting = tmp_path / "collecting"
    shutil.copytree(EXAMPLES / "collecting-repository", collecting)
    for shared in (ROOT / "community" / "profiles").glob("*.json"):
        shutil.copy(shared, collecting / "profiles")
    workflow = (collecting / ".github" / "workflows" / "check.yml").read_text()
    steps = yaml.safe_load(workflow)["jobs"]["check"]["steps"]
    check, fits = (run for step in steps if (run := step.get("run", "")).startswith("yourai "))
    monkeypatch.chdir(collecting)
    assert main(check.split()[1:]) == 0
    capsys.readouterr()
    command, _, page = fits.partition(" > ")
    assert main(command.split()[1:]) == 0
    assert "NVIDIA H200" in capsys.readouterr().out
    kept = [step["with"]["path"] for step in steps if "upload-artifact" in step.get("uses", "")]
    assert kept == [page]

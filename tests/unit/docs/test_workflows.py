"""The workflows of GitHub: whose code they run, with what rights, and on which machines."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[3]
GITHUB = ROOT / ".github"
WORKFLOWS = sorted(GITHUB.glob("workflows/*.yml"))
RIGHTS = {
    ("release.yml", "publish"): {"contents": "read", "id-token": "write", "attestations": "write"},
    ("release.yml", "announce"): {"contents": "write"},
}
"""Of the jobs that may do more than read."""

pytestmark = pytest.mark.skipif(not GITHUB.exists(), reason="only a checkout has workflows")


def read(name: str) -> dict[str, Any]:
    text = (GITHUB / "workflows" / name).read_text(encoding="utf-8")
    # In YAML 1.1 the key `on` is true.
    found: dict[Any, Any] = yaml.safe_load(text)
    return {"on" if key is True else key: value for key, value in found.items()}


def steps_of(workflow: dict[str, Any]) -> list[dict[str, Any]]:
    return [step for job in workflow["jobs"].values() for step in job["steps"]]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_every_action_is_pinned_to_a_commit_and_says_its_version(path: Path) -> None:
    used = [line for line in path.read_text().splitlines() if "uses:" in line]
    assert used
    for line in used:
        assert re.fullmatch(r"\s*-? ?uses: [\w-]+/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", line), line


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_a_workflow_may_read_and_no_more_and_ends(path: Path) -> None:
    workflow = read(path.name)
    assert workflow["permissions"] == {"contents": "read"}
    for name, job in workflow["jobs"].items():
        assert job.get("permissions") == RIGHTS.get((path.name, name))
        assert job["timeout-minutes"] <= 180
    checkouts = [step for step in steps_of(workflow) if "actions/checkout@" in step.get("uses", "")]
    assert not any(step["with"]["persist-credentials"] for step in checkouts)


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_no_script_has_a_value_of_the_event_in_its_text(path: Path) -> None:
    for step in steps_of(read(path.name)):
        assert "${{" not in step.get("run", "")


def test_the_benchmark_calls_the_script_that_is_tested() -> None:
    workflow = read("benchmark.yml")
    [job] = workflow["jobs"].values()
    assert [step["run"] for step in job["steps"] if "benchmark.sh" in step.get("run", "")] == [
        '.github/benchmark.sh "$MODEL"'
    ]
    script = (GITHUB / "benchmark.sh").read_text()
    given = {name for name in job["env"] if name.startswith("YOURAI_")}
    assert given
    assert all(f"${{{name}:-" in script for name in given)
    [kept] = [step for step in job["steps"] if "upload-artifact" in step.get("uses", "")]
    assert kept["if"] == "always()"
    assert kept["with"]["path"].rstrip("/") in script


def test_two_jobs_never_share_the_accelerator() -> None:
    [job] = read("benchmark.yml")["jobs"].values()
    assert job["runs-on"] == ["self-hosted", "macOS", "ARM64"]
    assert job["concurrency"] == {"group": "accelerator", "cancel-in-progress": False}


def test_code_of_a_fork_does_not_run_on_the_benchmarks_machine() -> None:
    workflow = read("benchmark.yml")
    assert set(workflow["on"]) == {"workflow_dispatch", "schedule", "pull_request"}
    assert workflow["on"]["pull_request"] == {"types": ["labeled"]}
    [job] = workflow["jobs"].values()
    assert "github.event.pull_request.head.repo.full_name == github.repository" in job["if"]
    assert "github.event.label.name == 'benchmark'" in job["if"]
    assert job["env"]["YOURAI_KEEP"] == "${{ github.ref == 'refs/heads/main' }}"


def test_nothing_of_a_pull_request_runs_with_the_rights_of_a_release() -> None:
    workflow = read("release.yml")
    assert workflow["on"] == {"push": {"tags": ["v[0-9]*"]}}
    for name, job in RIGHTS:
        used = read(name)["jobs"][job]
        assert used["needs"]
        assert not any("actions/checkout@" in step.get("uses", "") for step in used["steps"])


def test_each_stage_waits_for_the_one_before() -> None:
    jobs = read("tests.yml")["jobs"]
    order = {name: job.get("needs") for name, job in jobs.items()}
    assert order == {
        "lint": None,
        "docs": "lint",
        "unit": "lint",
        "tiers": "unit",
        "macos": "lint",
        "wheel": "tiers",
        "browser": "wheel",
    }
    assert jobs["unit"]["strategy"]["matrix"] == {
        "python": ["3.11", "3.12", "3.13", "3.14"],
        "session": ["unit", "lowest"],
    }
    assert jobs["macos"]["runs-on"].startswith("macos-")


def sessions_called(path: Path) -> set[str]:
    """What nox is asked for, by name or as a value of the matrix."""
    workflow = read(path.name)
    matrices = [job.get("strategy", {}).get("matrix", {}) for job in workflow["jobs"].values()]
    found = {name for matrix in matrices for name in matrix.get("session", ())}
    for step in steps_of(workflow):
        for names in re.findall(r"nox .*--session ((?:[\w-]+ ?)+)", step.get("run", "")):
            found.update(names.split())
    return found


def test_the_sessions_that_are_called_are_there() -> None:
    text = (ROOT / "noxfile.py").read_text()
    there = set(re.findall(r"^@nox.session\ndef (\w+)", text, re.MULTILINE))
    by_workflows = set().union(*map(sessions_called, WORKFLOWS))
    by_run = set(re.findall(r"session (\w+)", (ROOT / ".ci" / "run").read_text()))
    assert by_workflows <= there
    assert {"lint", "unit", "tiers", "alone", "quick", "build", "wheel"} <= by_run
    # Each is called by one of them, or nobody would see it fail.
    assert there <= by_workflows | by_run


def test_python_versions_are_those_that_the_package_names() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    named = [each.rpartition(" ")[2] for each in project["classifiers"] if ":: 3." in each]
    assert named == read("tests.yml")["jobs"]["unit"]["strategy"]["matrix"]["python"]


def release_notes(version: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / ".ci" / "release_notes.py"), version]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_notes_of_a_release_are_its_section_of_the_changelog() -> None:
    text = (ROOT / "CHANGELOG.md").read_text()
    [first, *later] = re.findall(r"^## (\S+)", text, re.MULTILINE)
    notes = release_notes(first).stdout
    assert notes.strip()
    assert notes.strip() in text
    assert not any(f"## {name}" in notes for name in later)
    missing = release_notes("99.0.0")
    assert missing.returncode == 1
    assert missing.stderr.startswith("CHANGELOG.md has no section 99.0.0")

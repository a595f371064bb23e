"""The workflows of GitHub: whose code they run, with what rights, and on which machines."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[3]
GITHUB = ROOT / ".github"
WORKFLOWS = sorted(GITHUB.glob("workflows/*.yml"))
LINTER = "YOURAI_ACTIONLINT"

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
    for job in workflow["jobs"].values():
        assert "permissions" not in job
        assert job["timeout-minutes"] <= 180
    checkouts = [step for step in steps_of(workflow) if "actions/checkout@" in step.get("uses", "")]
    assert [step["with"]["persist-credentials"] for step in checkouts] == [False]


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


def test_the_tests_run_as_they_do_everywhere() -> None:
    [job] = read("tests.yml")["jobs"].values()
    assert job["runs-on"] == "ubuntu-24.04"
    assert job["strategy"]["matrix"]["python"] == ["3.11", "3.12", "3.13"]
    assert job["steps"][-1]["run"] == ".ci/run python $PYTEST_ARGUMENTS"
    assert LINTER in job["env"]

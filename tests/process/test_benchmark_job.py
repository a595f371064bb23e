"""The script of the benchmark job: what it compares, when it fails, and what it stores."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / ".github" / "benchmark.sh"
MATRIX = "batch_size: [1, 2]\nlora_rank: [4]\nlora_layers: [2]\n"
FILES = {"profile.json", "journal.jsonl", "summary.md", "report.html", "pytest-benchmark.json"}

pytestmark = pytest.mark.skipif(not SCRIPT.exists(), reason="only a checkout has the script")


@dataclass
class Job:
    """What a machine has before a job, and what is there afterwards."""

    folder: Path

    @property
    def stored(self) -> Path:
        return self.folder / "store" / "tiny.json"

    @property
    def summary(self) -> str:
        return (self.folder / "step-summary.md").read_text(encoding="utf-8")

    def run(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """One job, with a summary of its own; `arguments` are pytest's."""
        (self.folder / "step-summary.md").unlink(missing_ok=True)
        (self.folder / "m.yaml").write_text(MATRIX)
        python = Path(sys.executable).parent
        return subprocess.run(
            [SCRIPT, "tiny", "--yourai-matrix=m.yaml", "--yourai-steps=2", *arguments],
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
            env={
                **os.environ,
                "PATH": f"{python}{os.pathsep}{os.environ['PATH']}",
                "GITHUB_STEP_SUMMARY": str(self.folder / "step-summary.md"),
                "YOURAI_STORE": str(self.folder / "store"),
                "YOURAI_QUICK": "false",
                "YOURAI_KEEP": "true",
                # Memory alone: how fast steps are depends on what else this machine does.
                "YOURAI_FAIL_ON": "minimum_memory:20% peak_memory:30%",
                **environment,
            },
        )

    def path_with_printer(self) -> str:
        """A PATH on which `python` prints its arguments, and does nothing else."""
        python = self.folder / "bin" / "python"
        python.parent.mkdir()
        python.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
        python.chmod(0o755)
        return f"{python.parent}{os.pathsep}{os.environ['PATH']}"

    def change_stored(self, **changed: Any) -> str:
        """Plant values in each row of the stored run; the text of the file."""
        document = json.loads(self.stored.read_text())
        del document["digest"]
        for row in document["all_results"]:
            row.update(changed)
        self.stored.write_text(json.dumps(document))
        return self.stored.read_text()


@pytest.fixture
def job(tmp_path: Path) -> Job:
    return Job(tmp_path)


def test_a_run_is_stored_compared_and_kept_where_the_next_is_worse(job: Job) -> None:
    first = job.run()
    assert first.returncode == 0, first.stdout + first.stderr
    assert "nothing to compare with" in first.stdout
    assert {path.name for path in (job.folder / "benchmark-results").iterdir()} == FILES
    assert "regression" not in job.summary
    stored = job.stored.read_text()
    assert stored == (job.folder / "benchmark-results" / "profile.json").read_text()

    second = job.run()
    assert second.returncode == 0, second.stdout + second.stderr
    assert "**No regression** (minimum_memory:20%, peak_memory:30%)" in job.summary
    assert job.stored.read_text() != stored

    # What comes is about the gate alone, and takes what was measured for measured again.
    again = f"--yourai-replay={job.stored.rename(job.folder / 'measured.json')}"
    job.stored.write_text((job.folder / "measured.json").read_text())
    planted = job.change_stored(minimum_memory_bytes=1_000_000)
    third = job.run(again)
    assert third.returncode == 1, third.stdout + third.stderr
    assert "REGRESSION batch=1, rank=4, layers=2: minimum_memory 1.0 MB before" in third.stdout
    assert "**2 regressions** (minimum_memory:20%, peak_memory:30%)" in job.summary
    assert job.stored.read_text() == planted

    # What pytest makes of it was seen above: here it is the script's own part.
    accepted = job.run(PATH=job.path_with_printer(), YOURAI_ACCEPT="true")
    assert accepted.returncode == 0, accepted.stdout + accepted.stderr
    assert "--yourai-compare" not in accepted.stdout
    assert job.stored.read_text() != planted


def test_a_stored_run_that_cannot_be_read_fails_the_job_before_anything_runs(job: Job) -> None:
    job.stored.parent.mkdir()
    job.stored.write_text("{}")
    done = job.run()
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert f"{job.stored}: model: it must name the model" in done.stderr
    assert job.stored.read_text() == "{}"
    assert not (job.folder / "benchmark-results" / "profile.json").exists()


def test_limits_may_stand_on_lines_of_their_own(job: Job) -> None:
    job.stored.parent.mkdir()
    job.stored.write_text("{}")
    done = job.run(
        PATH=job.path_with_printer(),
        YOURAI_KEEP="false",
        YOURAI_FAIL_ON="\nminimum_memory:5%\n  step_time:10%+20ms *\n",
    )
    limits = [each for each in done.stdout.split("\n") if each.startswith("--yourai-fail-on=")]
    assert [each.partition("=")[2] for each in limits] == [
        "minimum_memory:5%",
        "step_time:10%+20ms",
        "*",
    ]

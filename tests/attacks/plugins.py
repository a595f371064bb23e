"""Sweeps beside other plugins of pytest: each works, or is refused in one sentence.

    pip install -e '.[cpu,company]' && python tests/attacks/plugins.py

Each is a sweep of tiny with the scripted engine, with one other plugin of those that are installed.
The status is 1 if a sweep ends in another way than it should.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

_MATRIX = "batch_size: [1, 2]\nlora_rank: [4]\nlora_layers: [2]\n"

_REFUSED = 4


@dataclass(frozen=True)
class Company:
    """A plugin by the module of its entry point, its arguments, and how a sweep is to end."""

    plugin: str
    arguments: tuple[str, ...] = ()
    status: int = 0
    fault: str = ""
    """What a worker suffers once."""


COMPANIES = (
    Company("pytest_codspeed.plugin", ("--codspeed",)),
    Company("pytest_rerunfailures", ("--reruns=2",), fault="SIGKILL@measure"),
    Company("testmon.pytest_testmon", ("--testmon",)),
    Company("pytest_forked", ("--forked",), status=_REFUSED),
    Company("pytest_randomly"),
    Company("pytest_cov.plugin", ("--cov=pytest_yourai", "--cov-report=")),
    Company("pytest_html.plugin", ("--html=page.html",)),
    Company("pytest_sugar", ("--force-sugar",)),
    Company("xdist.plugin", ("-n=1",)),
)


def main() -> int:
    failed = 0
    print(f"{'plugin':<24} {'arguments':<36} status  as it should")
    for company in COMPANIES:
        with tempfile.TemporaryDirectory() as folder:
            problem = _problem(company, Path(folder))
        failed += bool(problem)
        shown = " ".join(company.arguments)
        print(
            f"{company.plugin:<24} {shown:<36} {company.status:>6}  {problem or 'yes'}", flush=True
        )
    return min(failed, 1)


def _problem(company: Company, folder: Path) -> str:
    """What is not as it should be; empty if all is."""
    (folder / "m.yaml").write_text(_MATRIX)
    done = subprocess.run(
        [
            *(
                sys.executable,
                "-P",
                "-m",
                "pytest",
                "--yourai-model=tiny",
                "--yourai-matrix=m.yaml",
            ),
            *("--yourai-steps=2", *company.arguments),
        ],
        cwd=folder,
        env=_environment(company, folder),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    text = done.stdout + done.stderr
    if done.returncode != company.status:
        return f"status {done.returncode}: {text[-2000:]}"
    if "Traceback" in text or "INTERNALERROR" in text:
        return f"a traceback: {text[-2000:]}"
    if company.status == _REFUSED:
        lines = [line for line in text.splitlines() if line.strip()]
        return "" if len(lines) == 1 and lines[0].startswith("ERROR: ") else text[-2000:]
    rows = json.loads((folder / "optimal_config.json").read_text())["all_results"]
    outcomes = [row["outcome"] for row in rows]
    return "" if outcomes == ["ok", "ok"] else f"outcomes {outcomes}"


def _environment(company: Company, folder: Path) -> dict[str, str]:
    # No plugin but ours, those that it needs, and this one: others would be company, too.
    modules = ["pytest_yourai.plugin", "pytest_benchmark.plugin", "pytest_timeout", company.plugin]
    if company.plugin == "pytest_html.plugin":
        modules.append("pytest_metadata.plugin")
    return {
        **os.environ,
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        "PYTEST_PLUGINS": ",".join(modules),
        "PYTHONPATH": os.pathsep.join((str(ROOT), str(ROOT / "tests"))),
        "XDG_CACHE_HOME": str(folder / "cache"),
        "YOURAI_TEST_ENGINE": "support.scripted_engine:ScriptedEngine",
        "YOURAI_TEST_FAULT": company.fault,
        "YOURAI_TEST_FAULT_DONE": str(folder / "fault-done"),
    }


if __name__ == "__main__":
    sys.exit(main())

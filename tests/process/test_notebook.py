"""The notebook in examples/, run as a person runs it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nbclient
import nbformat
import pytest

import pytest_yourai

NOTEBOOK = Path(__file__).parents[2] / "examples" / "sweep.ipynb"


def shown(cell: Any, kind: str) -> str:
    """What the cell shows of a kind: its output, or its value as HTML."""
    outputs = cell["outputs"]
    if kind == "text":
        return "".join(each.get("text", "") for each in outputs)
    return "".join(each.get("data", {}).get(kind, "") for each in outputs)


@pytest.mark.real_engine
@pytest.mark.filterwarnings("default")  # nbclient's own
def test_the_notebook_runs_from_top_to_bottom(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR"):
        monkeypatch.setenv(name, str(tmp_path / name))
    folder = tmp_path / "empty"
    folder.mkdir()
    notebook: Any = nbformat.read(NOTEBOOK, as_version=4)
    where = {"metadata": {"path": str(folder)}}
    nbclient.NotebookClient(notebook, timeout=120, resources=where).execute()
    estimate, sweep, profile, best, frame = (
        cell for cell in notebook["cells"] if cell["cell_type"] == "code"
    )
    assert "needs" in shown(estimate, "text")
    assert shown(sweep, "text").count(" ok ") == 2
    assert shown(profile, "text/html").count("<table>") == 2
    assert "train with a batch size of" in shown(best, "text")
    assert "peak_memory_gb" in shown(frame, "text/html")
    assert len(pytest_yourai.load(folder / "optimal_config.json").rows) == 2


def test_the_notebook_is_kept_without_outputs() -> None:
    notebook: Any = nbformat.read(NOTEBOOK, as_version=4)
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert not any(cell["outputs"] or cell["execution_count"] for cell in code)

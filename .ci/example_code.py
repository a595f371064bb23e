"""Check the types of the Python code of notebooks and guides, which is no module anywhere."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

_CODE = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)


def modules() -> Iterator[tuple[str, str]]:
    """The name and the code of each notebook, and of each page that has code."""
    for notebook in sorted((ROOT / "examples").glob("*.ipynb")):
        cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
        code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
        yield f"notebook_{notebook.stem}", "\n\n".join(code)
    for page in sorted((ROOT / "docs").rglob("*.md")):
        code = _CODE.findall(page.read_text(encoding="utf-8"))
        if code:
            yield f"page_{page.stem.replace('-', '_')}", "\n\n".join(code)


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        for name, code in modules():
            (Path(folder) / f"{name}.py").write_text(f"{code}\n", encoding="utf-8")
        return subprocess.run(
            [sys.executable, "-m", "mypy", "--strict", folder], cwd=ROOT, check=False
        ).returncode


if __name__ == "__main__":
    sys.exit(main())

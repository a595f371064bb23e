"""Write the Python code of examples and guides as modules into a folder, for a type checker."""

from __future__ import annotations

import json
import re
import sys
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


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, code in modules():
        (folder / f"{name}.py").write_text(f"{code}\n", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))

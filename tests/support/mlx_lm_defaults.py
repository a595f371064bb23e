"""Defaults of mlx-lm's model types for keys that a config.json lacks, read from its source.

python tests/support/mlx_lm_defaults.py writes those of the installed mlx-lm into the package.
"""

from __future__ import annotations

import ast
import importlib.util
import json
from pathlib import Path
from typing import Any

TABLE = Path(__file__).parents[2] / "pytest_yourai" / "models" / "mlx_lm_defaults.json"

_CLASSES = ("ModelArgs", "TextModelArgs", "TextArgs", "TextConfig")
"""Of one model type, the later ones on top: they describe its text part."""


def mlx_lm_folder() -> Path:
    """Where mlx-lm is installed; nothing of it is imported."""
    found = importlib.util.find_spec("mlx_lm")
    assert found is not None
    assert found.submodule_search_locations
    return Path(found.submodule_search_locations[0])


def read_defaults(folder: Path) -> dict[str, Any]:
    """`renamed` model types, and by type the `defaults` of keys that have numbers or switches."""
    types: dict[str, dict[str, Any]] = {}
    for path in sorted((folder / "models").glob("*.py")):
        found: dict[str, Any] = {}
        for name in _CLASSES:
            found.update(_class_defaults(path, name))
        if found:
            types[path.stem] = dict(sorted(found.items()))
    return {"renamed": _renamed(folder / "utils.py"), "defaults": types}


def written(document: dict[str, Any]) -> str:
    """The text of the file: one line for each model type."""
    lines = [f'  "{name}": {json.dumps(found)}' for name, found in document["defaults"].items()]
    renamed = json.dumps(document["renamed"])
    return f'{{"renamed": {renamed},\n"defaults": {{\n' + ",\n".join(lines) + "\n}}\n"


def _class_defaults(path: Path, name: str) -> dict[str, Any]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found: dict[str, Any] = {}
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and node.level:
            for alias in node.names:
                if alias.asname == name:
                    found.update(_class_defaults(path.with_name(f"{node.module}.py"), alias.name))
        if isinstance(node, ast.ClassDef) and node.name == name:
            for base in node.bases:
                found.update(_base_defaults(path, base))
            for line in node.body:
                if isinstance(line, ast.AnnAssign) and line.value is not None:
                    assert isinstance(line.target, ast.Name)
                    _take(found, line.target.id, line.value)
    return found


def _base_defaults(path: Path, base: ast.expr) -> dict[str, Any]:
    if isinstance(base, ast.Attribute) and isinstance(base.value, ast.Name):
        return _class_defaults(path.with_name(f"{base.value.id}.py"), base.attr)
    return {}


def _take(found: dict[str, Any], key: str, value: ast.expr) -> None:
    try:
        default = ast.literal_eval(value)
    except ValueError:
        return
    if isinstance(default, int | float | str) or default is None:
        found[key] = default


def _renamed(utils: Path) -> dict[str, str]:
    for node in ast.parse(utils.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "MODEL_REMAPPING":
            renamed: dict[str, str] = ast.literal_eval(node.value)
            return renamed
    return {}


if __name__ == "__main__":
    TABLE.write_text(written(read_defaults(mlx_lm_folder())), encoding="utf-8")

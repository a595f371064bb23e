"""The site of the documentation is built without a warning, where MkDocs is installed."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
SETTINGS = ROOT / "mkdocs.yml"

pytestmark = pytest.mark.skipif(not SETTINGS.exists(), reason="only a checkout has the site")


def built(root: Path, site: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "mkdocs", "build", "-f", str(root / SETTINGS.name)]
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    return subprocess.run(
        [*command, "-d", str(site)], capture_output=True, text=True, check=False, env=environment
    )


@pytest.mark.skipif(
    not all(map(importlib.util.find_spec, ("mkdocs", "material", "mkdocstrings", "mike"))),
    reason="the extra docs is not installed",
)
def test_the_site_is_built_and_a_broken_link_is_not(tmp_path: Path) -> None:
    done = built(ROOT, tmp_path / "site")
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr
    python = (tmp_path / "site" / "reference" / "signatures" / "index.html").read_text()
    assert "lora_keys" in python
    for name in ("docs", "pytest_yourai"):
        (tmp_path / "copy").mkdir(exist_ok=True)
        (tmp_path / "copy" / name).symlink_to(ROOT / name)
    (tmp_path / "copy" / "docs").unlink()
    shutil.copytree(ROOT / "docs", tmp_path / "copy" / "docs")
    shutil.copy(SETTINGS, tmp_path / "copy")
    page = tmp_path / "copy" / "docs" / "limitations.md"
    page.write_text(f"{page.read_text()}\n[broken](accuracy.md#not-there)\n")
    done = built(tmp_path / "copy", tmp_path / "other")
    assert done.returncode == 1
    assert "not-there" in done.stderr


def test_every_page_is_in_the_menu_once() -> None:
    spec = importlib.util.spec_from_file_location("site_hooks", ROOT / "docs" / "site_hooks.py")
    assert spec is not None
    assert spec.loader is not None
    hooks = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(hooks)
    docs = ROOT / "docs"
    menu = hooks.menu((docs / "index.md").read_text(encoding="utf-8"))
    titles = [title for entry in menu for title in entry]
    assert titles == ["Home", "Get started", "Guides", "Explanation", "Reference", "Help"]
    pages = [page for entry in menu for value in entry.values() for page in pages_of(value)]
    assert sorted(pages) == sorted(path.relative_to(docs).as_posix() for path in docs.rglob("*.md"))


def pages_of(value: str | list[dict[str, str]]) -> list[str]:
    """One page, or those of a section."""
    if isinstance(value, str):
        return [value]
    return [page for entry in value for page in entry.values()]

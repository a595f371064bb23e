"""The site of the documentation is built without a warning, where MkDocs is installed."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

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


def pages_of(entry: Any) -> list[str]:
    if isinstance(entry, str):
        return [entry]
    inner = entry.values() if isinstance(entry, dict) else entry
    return [page for each in inner for page in pages_of(each)]


def test_every_page_is_in_the_menu_once() -> None:
    class Settings(yaml.SafeLoader):
        """Tags of Python are of no interest here."""

    Settings.add_multi_constructor("", lambda *_: None)
    menu = pages_of(yaml.load(SETTINGS.read_text(encoding="utf-8"), Settings)["nav"])  # noqa: S506
    docs = ROOT / "docs"
    assert sorted(menu) == sorted(str(path.relative_to(docs)) for path in docs.rglob("*.md"))

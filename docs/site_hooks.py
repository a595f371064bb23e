"""Hooks of MkDocs: the menu is that of index.md, and links out of docs/ go to the repository."""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

_LINK = re.compile(r"(?<!!)\[([^\]]*)\]\(((?:\.\./)+[^)\s]*)\)")

_PAGE = re.compile(r"\[([^\]]*)\]\(([\w/-]+\.md)\)")


def on_config(config: Any) -> Any:
    """Give the site its menu."""
    config.nav = menu((Path(config.docs_dir) / "index.md").read_text(encoding="utf-8"))
    return config


def menu(index: str) -> list[dict[str, Any]]:
    """The sections of the index, each with its pages; those outside of any stand alone."""
    found: list[dict[str, Any]] = [{"Home": "index.md"}]
    seen: set[str] = set()
    for part in re.split(r"(?m)^## ", index):
        title, _, text = part.partition("\n")
        links = [(name, page) for name, page in _PAGE.findall(text) if page not in seen]
        pages = [{_plain(name): page} for name, page in dict.fromkeys(links)]
        seen.update(page for _, page in links)
        found += pages if title.startswith("#") else [{title.strip(): pages}]
    return found


def _plain(name: str) -> str:
    text = name.replace("`", "")
    return text[0].upper() + text[1:]


def on_page_markdown(markdown: str, *, page: Any, config: Any, files: Any) -> str:
    """The text of a page for the site, in which a link out of it is text without a repository."""
    folder = posixpath.dirname(page.file.src_uri)

    def lead(found: re.Match[str]) -> str:
        text, target = found.groups()
        path = posixpath.normpath(posixpath.join("docs", folder, target.partition("#")[0]))
        if path.startswith("docs/"):
            return found.group()
        return f"[{text}]({config.repo_url}/blob/main/{path})" if config.repo_url else text

    del files
    return _LINK.sub(lead, markdown)

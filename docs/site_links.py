"""A hook of MkDocs: links out of docs/ lead to the repository, or are plain text without one."""

from __future__ import annotations

import posixpath
import re
from typing import Any

_LINK = re.compile(r"(?<!!)\[([^\]]*)\]\(((?:\.\./)+[^)\s]*)\)")


def on_page_markdown(markdown: str, *, page: Any, config: Any, files: Any) -> str:
    """The text of a page for the site; `files` are those of the site."""
    folder = posixpath.dirname(page.file.src_uri)

    def lead(found: re.Match[str]) -> str:
        text, target = found.groups()
        path = posixpath.normpath(posixpath.join("docs", folder, target.partition("#")[0]))
        if path.startswith("docs/"):
            return found.group()
        return f"[{text}]({config.repo_url}/blob/main/{path})" if config.repo_url else text

    del files
    return _LINK.sub(lead, markdown)

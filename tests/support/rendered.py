"""Markdown as GitHub's own renderer sees it."""

from __future__ import annotations

import html.parser

import cmarkgfm
from cmarkgfm.cmark import Options

INVISIBLE = "\u200b"


class Rendered(html.parser.HTMLParser):
    """`tags` are all that came of `markdown`; `cells` the texts of its tables, row by row."""

    def __init__(self, markdown: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.cells: list[list[str]] = []
        self.text = ""
        self._is_in_cell = False
        # Without cmark's own filter for tags: ours must do.
        self.feed(
            cmarkgfm.markdown_to_html_with_extensions(
                markdown,
                options=Options.CMARK_OPT_UNSAFE,
                extensions=["table", "autolink", "strikethrough", "tasklist"],
            )
        )
        self.close()

    def handle_starttag(self, tag: str, _attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag == "tr":
            self.cells.append([])
        if tag in ("td", "th"):
            self.cells[-1].append("")
            self._is_in_cell = True

    def handle_endtag(self, tag: str) -> None:
        if tag in ("td", "th"):
            self._is_in_cell = False

    def handle_comment(self, _data: str) -> None:
        self.tags.append("comment")

    def handle_data(self, data: str) -> None:
        shown = data.replace(INVISIBLE, "")
        self.text += shown
        if self._is_in_cell:
            self.cells[-1][-1] += shown

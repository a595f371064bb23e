import base64
import hashlib
import html.parser
import json
import re
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_yourai.core.errors import OptionError, OutputError
from pytest_yourai.report.page import render
from pytest_yourai.report.page.render import Content, check_page_name, embedded, page, write_page

from support.profiles import HOSTILE, failed_only, hostile, later, profiles_of, quick
from support.texts import TEXTS

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | TEXTS,
    lambda inner: st.lists(inner) | st.dictionaries(TEXTS, inner),
    max_leaves=8,
)


class Elements(html.parser.HTMLParser):
    """What a browser would find: tags, their attributes, and the texts of scripts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self._in_script = False
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        if tag == "script":
            self._in_script = True
            self.scripts.append("")

    def handle_endtag(self, tag: str) -> None:
        self._in_script = self._in_script and tag != "script"

    def handle_data(self, data: str) -> None:
        if self._in_script:
            self.scripts[-1] += data


@pytest.fixture(scope="module")
def elements() -> Elements:
    return Elements(page(Content(profiles_of(hostile()))))


@pytest.mark.repeats
@given(JSON)
def test_what_is_embedded_comes_back_and_has_no_markup(value: Any) -> None:
    text = embedded(value)
    assert json.loads(text) == value
    assert not set(text) & set("<>&\u2028\u2029")


def test_hostile_texts_make_no_elements(elements: Elements) -> None:
    tags = [tag for tag, _ in elements.found]
    assert tags.count("script") == 2
    assert "img" not in tags
    assert "b" not in tags
    data = json.loads(elements.scripts[0])
    assert data["profiles"][0]["model"] == HOSTILE


def test_the_policy_allows_the_scripts_of_this_page_alone(elements: Elements) -> None:
    policy = next(
        attributes["content"] or ""
        for tag, attributes in elements.found
        if attributes.get("http-equiv") == "Content-Security-Policy" and tag == "meta"
    )
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    hashes = [
        f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
        for text in elements.scripts[1:]
    ]
    assert sorted(rules["script-src"].split()) == sorted(hashes)
    assert (rules["default-src"], rules["connect-src"]) == ("'none'", "'none'")


def test_nothing_is_fetched(elements: Elements) -> None:
    addresses = [
        value
        for _, attributes in elements.found
        for name, value in attributes.items()
        if name in ("src", "href", "action", "data")
    ]
    assert all(each and each.startswith("#") for each in addresses)


def test_packaged_scripts_set_no_markup() -> None:
    package = files("pytest_yourai.report.page")
    folders = (package / "scripts", package / "fits_scripts")
    texts = [each.read_text(encoding="utf-8") for folder in folders for each in folder.iterdir()]
    assert len(texts) == 19
    for text in texts:
        assert not re.search(
            r"innerHTML|outerHTML|insertAdjacent|document\.write|</script|<!--", text
        )
        assert len(text.splitlines()) < 400


def test_the_newest_profile_is_opened_or_of_a_walk_the_largest_that_fits() -> None:
    assert Content(profiles_of(quick(), failed_only())).opened == 1
    small, large = {**quick(), "model": "small"}, {**failed_only(), "model": "large"}
    assert Content(profiles_of(small, large)).opened == 0
    assert Content(profiles_of(large)).opened == 0


def test_a_page_has_the_name_of_a_page() -> None:
    for name in ("page.html", "a/page.HTM", "page", "run-0.31", "/dev/stdout"):
        check_page_name(Path(name), "-o")
    with pytest.raises(OptionError, match=r"^-o: a page is HTML, not \.PDF: name it a/p\.html$"):
        check_page_name(Path("a/p.PDF"), "-o")


def test_a_page_of_twelve_rows_is_small() -> None:
    assert len(page(Content(profiles_of(quick()))).encode()) < 200_000


def test_a_file_that_is_not_a_page_is_kept(tmp_path: Path) -> None:
    path, content = tmp_path / "page.html", Content(profiles_of(quick()))
    assert write_page(path, content, "--output") is None
    assert write_page(path, content, "--output") is None
    path.write_text("<p>notes")
    kept = write_page(path, content, "--output")
    assert kept is not None
    assert kept.read_text() == "<p>notes"


def test_a_page_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="--output: .* cannot be written"):
        write_page(tmp_path / "no" / "page.html", Content(profiles_of(quick())), "--output")
    assert list(tmp_path.iterdir()) == []


def test_the_title_is_the_model_and_the_machine(elements: Elements) -> None:
    text = page(Content(profiles_of(failed_only(), quick())))
    assert "<title>llama-8b on NVIDIA H200</title>" in text
    assert [tag for tag, _ in elements.found].count("title") == 1


def test_of_a_long_history_the_newest_and_the_first_are_whole(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(render, "_MOST_ROWS", 40)
    documents = [later(month, "0.1", 1) for month in range(1, 8)]
    data = json.loads(Elements(page(Content(profiles_of(*documents)))).scripts[0])
    assert ["rows" in each for each in data["profiles"]] == [True, *[False] * 4, True, True]
    assert [(each["before"], each["after"]) for each in data["comparisons"]] == [(0, 5), (0, 6)]
    assert len(data["history"][0]["points"]) == 7
    assert data["opened"] == 6

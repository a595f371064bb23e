"""README and docs are whole: links lead somewhere, generated parts are fresh, flags are there."""

import html
import json
import re
from collections import Counter
from pathlib import Path

import cmarkgfm
import pytest

from pytest_yourai.plan.flags import FLAGS

ROOT = Path(__file__).parents[3]
README = ROOT / "README.md"
PAGES = sorted((ROOT / "docs").rglob("*.md"))
MOST_README_BYTES = 9_000


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def rendered(page: Path) -> str:
    text: str = cmarkgfm.github_flavored_markdown_to_html(page.read_text(encoding="utf-8"))
    return text


def links(page: Path) -> list[str]:
    """What it links to or shows within the repository."""
    found = re.findall(r'(?:href|src)="([^"]*)"', rendered(page))
    return [html.unescape(link) for link in found if not re.match(r"[a-z]+:", link)]


def anchors(page: Path) -> set[str]:
    """Of its headings, as GitHub makes them."""
    names: Counter[str] = Counter()
    found = set()
    for heading in re.findall(r"<h[1-6]>(.*?)</h[1-6]>", rendered(page), re.DOTALL):
        text = html.unescape(re.sub(r"<[^>]*>", "", heading))
        name = re.sub(r"[^\w\- ]", "", text.strip().lower()).replace(" ", "-")
        found.add(f"{name}-{names[name]}" if names[name] else name)
        names[name] += 1
    return found


def target(page: Path, link: str) -> tuple[Path, str]:
    """The file and the anchor that a link of `page` leads to."""
    place, _, anchor = link.partition("#")
    return (page.parent / place).resolve() if place else page, anchor


def test_the_readme_is_short() -> None:
    assert README.stat().st_size <= MOST_README_BYTES


@pytest.mark.parametrize("page", [README, *PAGES], ids=name_of)
def test_every_link_leads_somewhere(page: Path) -> None:
    for link in links(page):
        file, anchor = target(page, link)
        assert file.is_relative_to(ROOT), link
        assert file.exists(), link
        assert not anchor or anchor in anchors(file), link


def test_every_page_can_be_reached_from_the_index() -> None:
    index = ROOT / "docs" / "index.md"
    assert index in {target(README, link)[0] for link in links(README)}
    assert {target(index, link)[0] for link in links(index)} >= set(PAGES) - {index}


@pytest.mark.parametrize("page", [README, *PAGES], ids=name_of)
def test_no_page_names_a_flag_that_is_not_there(page: Path) -> None:
    named = set(re.findall(r"--yourai-[a-z]+(?:-[a-z]+)*", page.read_text(encoding="utf-8")))
    assert named <= {flag.option for flag in FLAGS}


@pytest.mark.parametrize("recording", ["h200_llama8b_quick.json", "h200_benchmark_full.json"])
def test_the_keys_of_files_are_explained(recording: str) -> None:
    document = json.loads((ROOT / "tests" / "data" / recording).read_text(encoding="utf-8"))
    rows = [*document.get("all_results", ()), *document.get("results", ())]
    page = (ROOT / "docs" / "reference" / "profile.md").read_text(encoding="utf-8")
    lacking = {key for each in (document, *rows) for key in each if f"`{key}`" not in page}
    assert not lacking

"""The pages keep the rules of .vale, which Vale checks as well where it is installed."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[3]
STYLES = ROOT / ".vale" / "yourai"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]

pytestmark = pytest.mark.skipif(not STYLES.exists(), reason="only a checkout has the rules")


def rule(name: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((STYLES / f"{name}.yml").read_text(encoding="utf-8"))
    return found


def words() -> Iterator[str]:
    """Regular expressions of all words that are not to be used."""
    yield from rule("Words")["swap"]
    yield from rule("Fillers")["tokens"]
    yield from rule("Quaint")["tokens"]


def prose(page: Path) -> str:
    """Without code, which Vale leaves out, too."""
    text = re.sub(r"(?ms)^```.*?^```", "\n", page.read_text(encoding="utf-8"))
    return re.sub(r"`[^`]*`|<!--.*?-->|\]\([^)]*\)", "X", text)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_no_page_has_a_word_that_is_not_to_be_used(page: Path) -> None:
    text = prose(page)
    wrong = [
        found.group()
        for word in words()
        for found in re.finditer(rf"(?<![\w-])(?:{word})(?![\w-])", text, re.IGNORECASE)
    ]
    assert not wrong


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_no_sentence_is_too_long(page: Path) -> None:
    blocks = re.split(r"\n\s*\n|\n(?=\s*(?:[-*|#]|\d+\.) )|\|", prose(page))
    sentences = [each for block in blocks for each in re.split(r"(?<=[.:;?!])\s", block)]
    most = rule("Sentences")["max"]
    assert not [each for each in sentences if len(each.split()) > most]


def test_vale_is_told_to_use_the_rules() -> None:
    settings = (ROOT / ".vale.ini").read_text(encoding="utf-8")
    assert "StylesPath = .vale\n" in settings
    assert f"BasedOnStyles = {STYLES.name}\n" in settings
    for path in STYLES.glob("*.yml"):
        assert rule(path.stem)["level"] == "error"
        assert "%s" in rule(path.stem)["message"] or "max" in rule(path.stem)

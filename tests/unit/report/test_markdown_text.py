import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_yourai.core.sanitize import printable
from pytest_yourai.report.markdown_text import cut, escaped, table

from support.screens import INVISIBLE, Rendered

OF_TABLES = {"table", "thead", "tbody", "tr", "th", "td"}

HOSTILE = [
    r"a|b \| c \\| d |",
    "`code` ``x`` ```",
    "<b>bold</b> <!-- comment --> <script>alert(1)</script> <img src=x>",
    "[a](https://evil.example) ![i](j) [^1] [x]",
    "@everyone someone@example.com @a/b #12 GH-1",
    "1@.a a@-b.c a@_.b",
    "https://evil.example/?a=b http://x.y ftp://z www.evil.example WWW.EVIL.EXAMPLE",
    "mailto:a@b.c xmpp:a@b.c/d",
    "**b** *i* __b__ _i_ ~~gone~~ ~gone~ ==m==",
    ":tada: a:b:c 12:30:15",
    "$x^2$ $$y$$",
    "&lt;b&gt; &#124; &amp;",
    "one\ntwo\r\n\n| --- |\n# three\x1b[2J",
    "\\",
    "- [ ] task",
    "1. one",
]


def shown_in_a_cell(text: str) -> Rendered:
    return Rendered("\n".join(table(["h", "i"], [[escaped(text), "next"]], [False, True])))


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_is_shown_as_text(text: str) -> None:
    rendered = shown_in_a_cell(text)
    assert rendered.cells == [["h", "i"], [" ".join(printable(text).split()), "next"]]
    assert set(rendered.tags) <= OF_TABLES | {"span"}


@given(st.text(alphabet=st.sampled_from("|\\`*_[]()<>!~&#@:/.$^=+- \nabw1é—"), max_size=30))
def test_whatever_text_is_shown_as_text(text: str) -> None:
    rendered = shown_in_a_cell(text)
    assert rendered.cells[1] == [" ".join(printable(text).split()), "next"]
    assert set(rendered.tags) <= OF_TABLES | {"span"}


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("@everyone", "everyone"),
        ("#12", "12"),
        ("GH-12", "12"),
        ("a@b.c", "b.c"),
        (":tada:", "tada:"),
    ],
)
def test_what_github_looks_for_in_text_is_parted(text: str, part: str) -> None:
    # GitHub looks for people, issues and emoji in what was rendered, so no backslash helps.
    assert f"&#8203;{part}" in escaped(text)
    assert INVISIBLE not in escaped(text)


def test_ordinary_text_stays_readable() -> None:
    text = "batch=4, rank=8: self_attn.q_proj (needs 3.3 MB), 2,344 tokens/s × 2 – #"
    assert escaped(text) == text


def test_what_fits_is_not_cut() -> None:
    assert cut("a\nb\n", 4, "why") == "a\nb\n"


def test_what_is_cut_ends_with_a_whole_line_and_says_so() -> None:
    text = "".join(f"| línea {number} |\n" for number in range(1000))
    for most in range(30, 200):
        short = cut(text, most, "too long.")
        assert len(short.encode()) <= most
        whole, _, note = short.partition("\n**Cut here:** ")
        assert text.startswith(whole)
        assert not whole or whole.endswith("|\n")
        assert note == "too long.\n"


def test_where_not_even_that_can_be_written_nothing_is_left() -> None:
    assert cut("a" * 100, 10, "too long.") == ""
    assert cut("a" * 100, -5, "too long.") == ""

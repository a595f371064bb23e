from pytest_yourai.core.sanitize import all_printable, printable


def test_nothing_that_a_terminal_obeys_is_left() -> None:
    shown = printable("a\x1b[31mred\x07\nb\tc\u202ed")
    assert shown == "a?[31mred? b c?d"
    assert shown.isprintable()


def test_what_can_be_shown_stays_as_it_is() -> None:
    text = "Größe × 漢字 <b>&amp;</b> 🙂"
    assert printable(text) == text


def test_what_nobody_can_read_is_cut() -> None:
    assert printable("x" * 3000) == "x" * 2000 + "…"


def test_every_text_of_a_document_is_made_printable() -> None:
    found = all_printable({"a\x00": ["b\x1b", 1, None, {"c": "\r"}], "d": True})
    assert found == {"a?": ["b?", 1, None, {"c": " "}], "d": True}

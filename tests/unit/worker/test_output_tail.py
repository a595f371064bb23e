from __future__ import annotations

from pytest_yourai.worker.tail import Tail

TOKEN = b"hf_" + b"Ab3dE6" * 6


def test_colours_go_and_what_was_taken_is_gone() -> None:
    tail = Tail()
    tail.add(b"\x1b[31mred\x1b[0m \xff\n")
    assert tail.take() == "red \ufffd\n"
    assert tail.take() == ""


def test_only_the_end_of_megabytes_is_kept() -> None:
    tail = Tail()
    for number in range(200_000):
        tail.add(b"line %d\n" % number)
    text = tail.take()
    assert len(text) <= 1 << 16
    assert text.endswith("line 199999\n")


def test_a_token_that_was_cut_in_two_does_not_show_its_rest() -> None:
    for shift in range(len(TOKEN)):
        tail = Tail()
        tail.add(TOKEN + b" " + b"x" * ((1 << 16) - len(TOKEN) + shift - 1))
        assert "Ab3" not in tail.take()


def test_tokens_that_come_in_two_pieces_are_taken_out() -> None:
    tail = Tail()
    tail.add(b"it is " + TOKEN[:20])
    tail.add(TOKEN[20:] + b" indeed")
    assert tail.take() == "it is *** indeed"

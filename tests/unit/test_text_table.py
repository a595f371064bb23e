from pytest_yourai.report.tables import text_table


def test_words_stand_at_the_left_and_numbers_at_the_right() -> None:
    rows = [["name", "GB", "outcome"], ["a", "12.5", "ok"], ["longer", "3", ""]]
    assert list(text_table(rows, [False, True, False])) == [
        "name      GB  outcome",
        "a       12.5  ok",
        "longer     3",
    ]
    assert list(text_table(rows, [False, True, False], " "))[1] == "a      12.5 ok"

"""Words that a user may have meant."""

from __future__ import annotations

import pytest

from pytest_yourai.core.similar import similar


@pytest.mark.parametrize(
    ("word", "words", "found"),
    [
        ("lama-8b", ["tiny", "llama-8b", "llama-70b"], ["llama-8b", "llama-70b"]),
        (
            "lora_layers",
            ["model", "num_layers", "lora_parameters"],
            ["lora_parameters", "num_layers"],
        ),
        ("--iter", ["--iters", "--rank"], ["--iters"]),
        ("--foo", ["--co", "-k"], []),
        ("--replay", ["--report"], []),
        ("nope", ["tiny", "hermes-mistral-7b"], []),
    ],
)
def test_the_nearest_words_come_first_and_dashes_make_none_alike(
    word: str, words: list[str], found: list[str]
) -> None:
    assert similar(word, words, most=2) == found
    assert similar(word, words) == found[:1]

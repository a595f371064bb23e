"""What `yourai explain` finds, in whatever people paste."""

from __future__ import annotations

import re
import time

import pytest

from pytest_yourai.core.known_failures import KNOWN_FAILURES, KnownFailure, recognise
from pytest_yourai.core.outcomes import Outcome
from pytest_yourai.report.explain import find, lines
from pytest_yourai.report.explanations import VARIES, Explanation, read_sections

from support.messages import says_what_to_do

IMPERATIVES = {"look", "lower", "quit", "shorten", "stop", "take", "train", "wait"}

ALL = [each for section in read_sections() for each in section.entries]


def titles(text: str) -> list[str]:
    return [each.title for each in find(text, read_sections()).entries]


@pytest.mark.parametrize("entry", ALL, ids=lambda entry: entry.title)
def test_each_message_is_found_as_it_is_printed(entry: Explanation) -> None:
    for message in entry.messages:
        printed = message.replace(VARIES, "4")
        for text in (printed, printed.upper(), f"\x1b[31m{printed}\x1b[0m", f"  {printed}\n"):
            found = find(text, read_sections())
            assert entry in found.entries, text
            assert found.exact, text


@pytest.mark.parametrize("entry", ALL, ids=lambda entry: entry.title)
def test_each_says_what_to_do(entry: Explanation) -> None:
    first = entry.remedy.split()[0].strip(".").lower()
    assert first in IMPERATIVES or says_what_to_do(f": {entry.remedy[0].lower()}{entry.remedy[1:]}")


def test_no_two_have_the_same_message() -> None:
    messages = [message for each in ALL for message in each.messages]
    assert len(messages) == len(set(messages))


def test_every_outcome_but_ok_is_explained() -> None:
    assert {each.title for each in ALL} >= {each.value for each in Outcome} - {"ok"}


@pytest.mark.parametrize("known", KNOWN_FAILURES, ids=lambda known: known.what)
def test_every_known_failure_is_explained_with_its_remedy(known: KnownFailure) -> None:
    [entry] = [
        each for each in ALL if any(recognise(message) is known for message in each.messages)
    ]
    assert recognise(entry.title) is known
    assert known.remedy[1:] in entry.remedy


TRACEBACK = """
Iter 40: Train loss 1.231, Learning Rate 1.000e-05, It/sec 0.31, Tokens/sec 310.1
Traceback (most recent call last):
  File "/opt/mlx_lm/lora.py", line 401, in <module>
    main()
  File "/opt/mlx_lm/tuner/trainer.py", line 290, in train
    mx.eval(state, losses, n_tokens, grad_accum)
RuntimeError: [metal::malloc] Attempting to allocate 9663676416 bytes which is greater than the \
maximum allowed buffer size of 9534832640 bytes.
resource_tracker: There appear to be 1 leaked semaphore objects to clean up at shutdown
"""

ABORTED = (
    "libc++abi: terminating due to uncaught exception of type std::runtime_error: [METAL] Command "
    "buffer execution failed: Insufficient Memory (00000008:"
    "kIOGPUCommandBufferCallbackErrorOutOfMemory)"
)


@pytest.mark.parametrize(
    ("text", "title"),
    [
        (TRACEBACK, "[metal::malloc] Attempting to allocate"),
        (ABORTED, "[METAL] Command buffer execution failed: Insufficient Memory"),
        ("Insufficient Memory", "[METAL] Command buffer execution failed: Insufficient Memory"),
        ("[4/12] batch=4, rank=8 ... ✗ over budget: needs 9.0 GB", "over_budget"),
        ('{"outcome": "invalid_loss", "rank": 8}', "invalid_loss"),
        ("machine crash", "machine_crash"),
        ("zsh: killed     mlx_lm.lora --train", "zsh: killed"),
        ("Iter 30: Train loss nan, Learning Rate 1e-5", "Iter …: Train loss nan"),
        ('panic(cpu 7 caller 0x1): "completeMemory() prepare count underflow" @IOGPUMemory.cpp:492',
         "panic(cpu"),
        ("--yourai-data: ./model has no tokenizer", "--yourai-data: … has no tokenizer"),
        ("ValueError: Missing 7 parameters: lm_head.biases", "Missing … parameters"),
        ("ValueError: Received 252 parameters not in model: ", "Missing … parameters"),
        ("bash: mlx_lm.lora: command not found", "ModuleNotFoundError"),
        ("zsh: command not found: yourai", "ModuleNotFoundError"),
        ("pytest: error: unrecognized arguments: --yourai-model=tiny", "ModuleNotFoundError"),
        ("zsh: no matches found: pytest-yourai[cpu]", "zsh: no matches found"),
    ],
)  # fmt: skip
def test_what_is_pasted_is_found(text: str, title: str) -> None:
    found = find(text, read_sections())
    assert found.exact
    assert found.entries[0].title.startswith(title)


@pytest.mark.parametrize(
    ("text", "title"),
    [
        ("training hangs after the first validation", "Iter 1: Val loss"),
        ("it is stuck after validation", "Iter 1: Val loss"),
        ("out of memorie", "[METAL] Command buffer execution failed: Insufficient"),
        ("kernel panic", "panic(cpu"),
        ("why is memory growing until it crashes", "memory grows with every step"),
        ("resource limit", "[metal::malloc] Resource limit"),
        (ABORTED.partition(": [")[0], "[METAL] Command buffer execution failed: Insufficient"),
        (ABORTED.partition(": [")[0], "[METAL] Command buffer execution failed: Impacting"),
    ],
)
def test_words_lead_to_the_nearest(text: str, title: str) -> None:
    assert any(each.startswith(title) for each in titles(text)), titles(text)


@pytest.mark.parametrize(
    "text", ["banana bread recipe", "", "x", "the", "TypeError: foo() takes 2 arguments", "\x00"]
)
def test_nothing_is_found_for_what_it_does_not_know(text: str) -> None:
    assert titles(text) == []


def test_a_common_word_is_not_an_outcome() -> None:
    assert "error" not in titles(TRACEBACK)
    assert "skipped" not in titles("12 passed, 3 skipped, and the disk: No space left on device")


def test_a_part_of_another_message_is_left_out() -> None:
    assert len(titles(ABORTED)) == 1


@pytest.mark.repeats
def test_a_long_log_takes_no_longer_than_reading_it() -> None:
    start = time.process_time()
    assert titles("Iter 40: Train loss 1.231, Peak mem 9.1 GB\n" * 20_000 + TRACEBACK)
    assert time.process_time() - start < 20


def test_it_is_shown_as_plain_text_within_the_width() -> None:
    found = find("Impacting Interactivity", read_sections())
    shown = list(lines(found, 60))
    assert shown[0] == found.entries[0].title
    assert all(len(line) <= 60 or " " not in line.strip() for line in shown[1:])
    text = " ".join(" ".join(shown).split())
    assert "What to do: Let the display sleep" in text
    assert "See On a Mac (docs/guides/on-a-mac.md#the-display)." in text
    assert not re.search(r"`|\*\*|\]\(", text)
    assert next(lines(find("kernel panic", read_sections()), 60)).startswith("No explanation")

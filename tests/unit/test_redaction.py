from __future__ import annotations

from pathlib import Path

import pytest

from pytest_yourai.core.sanitize import Redactor

TOKEN = "hf_" + "Ab3dE6" * 6


def test_the_value_becomes_the_name_of_its_variable() -> None:
    redact = Redactor({"HF_TOKEN": "correct horse battery", "MY_SECRET": "staple-staple"})
    text = "sent correct horse battery, got staple-staple"
    assert redact(text) == "sent [HF_TOKEN], got [MY_SECRET]"


@pytest.mark.parametrize(
    "name",
    ["HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "WANDB_API_KEY", "AWS_SECRET_ACCESS_KEY", "db_password"]
    + ["DB_PASS", "MY_KEY", "GITHUB_AUTH"],
)
def test_names_that_mean_secrets(name: str) -> None:
    assert "12345678" not in Redactor({name: "12345678"})("x 12345678 y")


def test_ordinary_values_and_places_stay() -> None:
    redact = Redactor({"TOKENIZERS_PARALLELISM": "true", "LANG": "C.UTF-8long", "X_TOKEN": "yes"})
    assert redact("true C.UTF-8long yes") == "true C.UTF-8long yes"
    assert Redactor({"GIT_AUTHOR_NAME": "John Smith"})("by John Smith") == "by John Smith"
    assert Redactor({"AWS_SECRET": "/aB3/cD4"})("x /aB3/cD4") == "x [AWS_SECRET]"
    assert Redactor({"HF_TOKEN_PATH": "/home/me/token"})("/home/me/token") == "/home/me/token"


def test_the_longer_of_two_secrets_goes_first() -> None:
    redact = Redactor({"A_TOKEN": "abcdefgh", "B_TOKEN": "abcdefghijkl"})
    assert redact("abcdefghijkl abcdefgh") == "[B_TOKEN] [A_TOKEN]"


@pytest.mark.parametrize(
    "text",
    [
        TOKEN,
        "ghp_" + "a1B2" * 9,
        "sk-proj-" + "x" * 20,
        "AKIA" + "ABCD1234" * 2,
        "Authorization: Bearer abc.def-123456",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.c2lnbmF0dXJl",
        "https://me:pa55word@example.org/x",
    ],
)
def test_what_looks_like_a_token_goes_though_nobody_knows_it(text: str) -> None:
    cleaned = Redactor({})(f"before {text} after")
    assert "***" in cleaned
    assert cleaned.startswith("before ")
    assert cleaned.endswith(" after")
    assert text[-8:] not in cleaned or "example.org" in text
    assert "pa55word" not in cleaned


def test_ordinary_text_is_left_as_it_is() -> None:
    text = "hf_hub_download of llama-8b-batch4-rank64-layers16 took 1.2 s: https://example.org/a:b"
    assert Redactor({})(text) == text


def test_a_stored_token_is_known(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("a-stored-token\n")
    assert Redactor({"HF_HOME": str(tmp_path)})("x a-stored-token") == "x [HF_TOKEN]"
    assert Redactor({"HF_HOME": str(tmp_path / "absent")})("a-stored-token") == "a-stored-token"

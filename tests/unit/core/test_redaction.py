from __future__ import annotations

import base64
import html
import json
import shlex
import time
import urllib.parse
from pathlib import Path

import pytest

from pytest_yourai.core import sanitize
from pytest_yourai.core.paths import packaged_models
from pytest_yourai.core.redaction import Redactor
from pytest_yourai.core.vocabulary import OWN_WORDS
from pytest_yourai.models.architecture_reader import read_architecture_shapes
from pytest_yourai.models.presets import read_presets

from support.messages import vocabulary

TOKEN = "hf_" + "Ab3dE6" * 6


def test_the_value_becomes_the_name_of_its_variable() -> None:
    redact = Redactor({"HF_TOKEN": "correct horse battery", "MY_SECRET": "staple-staple"})
    text = "sent correct horse battery, got staple-staple"
    assert redact(text) == "sent [HF_TOKEN], got [MY_SECRET]"


@pytest.mark.parametrize(
    "name",
    ["HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "WANDB_API_KEY", "AWS_SECRET_ACCESS_KEY", "db_password"]
    + ["DB_PASS", "MY_KEY", "GITHUB_AUTH", "NETRC_PWD", "DBPWD", "ROOT_PASSWD", "X_CREDENTIALS"]
    + ["SESSION_COOKIE", "SENTRY_DSN", "db_pw", "GITLAB_PAT", "AZURE_CONNECTION_STRING", "CONN_STR"]
    + ["SLACK_WEBHOOK_URL", "MY_JWT", "AZURE_SAS", "AWS_CREDS"],
)
def test_names_that_mean_secrets(name: str) -> None:
    assert "12345678" not in Redactor({name: "12345678"})("x 12345678 y")


def test_folders_in_variables_of_such_names_stay(tmp_path: Path) -> None:
    here = str(tmp_path)
    for name in ("PWD", "OLDPWD", "INIT_PWD", "APPLICATION_CREDENTIALS"):
        assert Redactor({name: here})(here) == here
    assert Redactor({"PWD": "/not/there"})("/not/there") == "/not/there"


SECRET = "p\"ß\\s w'o/r&d+1"  # noqa: S105 - made up
"""Of characters that repr, JSON, addresses, shells and HTML all write in their own way."""


@pytest.mark.parametrize(
    "written",
    [
        SECRET,
        repr(SECRET),
        repr(SECRET.encode()),
        json.dumps(SECRET),
        json.dumps(SECRET, ensure_ascii=False),
        urllib.parse.quote(SECRET),
        urllib.parse.quote(SECRET, safe=""),
        urllib.parse.quote(SECRET, safe="").lower(),
        urllib.parse.quote_plus(SECRET),
        urllib.parse.urlencode({"q": SECRET}),
        shlex.quote(SECRET),
        html.escape(SECRET),
    ]
    + [
        encode(f"{user}:{SECRET}:{more}".encode()).decode()
        for user in ("", "u", "us", "use", "user")
        for more in ("", "x", "xy")
        for encode in (base64.b64encode, base64.urlsafe_b64encode)
    ],
)
def test_a_secret_is_found_however_it_is_written(written: str) -> None:
    cleaned = Redactor({"MY_PASSWORD": SECRET})(f"before {written} after")
    assert cleaned.startswith("before ")
    assert "[MY_PASSWORD]" in cleaned
    assert cleaned.endswith(" after")
    assert len(cleaned) < len("before MY_PASSWORD after") + 20


def test_a_key_of_several_lines_is_found_line_by_line() -> None:
    key = "-----BEGIN KEY-----\n" + "A1b2C3d4" * 4 + "\n" + "E5f6G7h8" * 4 + "\n-----END KEY-----\n"
    redact = Redactor({"DEPLOY_KEY": key})
    assert redact(key) == "[DEPLOY_KEY]"
    assert redact("x " + "E5f6G7h8" * 4) == "x [DEPLOY_KEY]"


def test_the_password_of_an_address_in_the_environment_is_known() -> None:
    redact = Redactor({"DATABASE_URL": "postgres://me:corr%40ct-horse@db:5432/x"})
    assert redact("corr%40ct-horse, corr@ct-horse") == "[DATABASE_URL], [DATABASE_URL]"


def test_a_secret_of_digits_is_not_found_within_numbers() -> None:
    redact = Redactor({"PIN_PASSWORD": "12345678"})
    assert redact("is 12345678.") == "is [PIN_PASSWORD]."
    for number in ("123456789", "0.12345678", "12345678.5", "1,12345678", "x12345678"):
        assert redact(number) == number


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
        "https://me:p@55@pa55word@example.org/x",
        "https://me:p/pa55word@example.org/x",
        "redis://:pa55word@example.org",
        "Authorization: Basic " + base64.b64encode(b"me:pa55word").decode(),
        "-u basic " + base64.b64encode(b"me:pa55word").decode(),
        "'Authorization': 'Token 0123abcd'",
        '"authorization": "0123abcd"',
        "x-api-key: 0123abcd",
        "Cookie: session=0123abcd; id=0123",
        "curl --token 0123abcd",
        "curl --hf-token='0123 abcd'",
        "curl --api-key=0123abcd",
        "HF_TOKEN=0123abcd",
        "login(password='0123abcd')",
        '{"client_secret": "0123abcd"}',
        "https://example.org/?X-Amz-Signature=0123abcd",
        "https://example.org/?a=1&access_token=0123abcd",
        "-----BEGIN RSA PRIVATE KEY-----\n0123abcd\n-----END RSA PRIVATE KEY-----",
        "npm_" + "a1B2" * 9,
        "sk_live_" + "a1B2" * 6,
    ],
)
def test_what_looks_like_a_token_goes_though_nobody_knows_it(text: str) -> None:
    cleaned = Redactor({})(f"before {text} after")
    assert "***" in cleaned
    assert cleaned.startswith("before ")
    assert cleaned.endswith(" after")
    assert text[-8:] not in cleaned or "example.org" in text
    assert "pa55word" not in cleaned
    assert "0123" not in cleaned
    assert "bWU6" not in cleaned


@pytest.mark.parametrize(
    "text",
    [
        "hf_hub_download of llama-8b-batch4-rank64-layers16 took 1.2 s: https://example.org/a:b",
        "Basic understanding, basic information, Basic configuration",
        "https://example.org:8080/a@b and http://localhost:80 me@example.org",
        "--max-tokens 100 --extra-eos-token <|end|> --seed 7, 1,234 tokens/s",
        "MAX_TOKENS=100000 --data ./tokens",
    ],
)
def test_ordinary_text_is_left_as_it_is(text: str) -> None:
    assert Redactor({})(text) == text


def test_what_looks_like_a_token_stays_where_it_is_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, redact = "hf_" + "A" * 24, Redactor({})
    for text in (f"model ./{name}, and", f"--model={name}", f"'{tmp_path}/a b/{name}/x'"):
        assert redact(text) == text.replace(name, "***")
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).mkdir()
    (tmp_path / "a b" / name).mkdir(parents=True)
    for text in (f"model ./{name}, and", f"--model={name}", f"'{tmp_path}/a b/{name}/x'"):
        assert redact(text) == text
    assert Redactor({"HF_TOKEN": name})(f"model ./{name}") == "model ./[HF_TOKEN]"


@pytest.mark.repeats
def test_hostile_text_takes_no_time() -> None:
    for part in ("eyJ-", "https://a:", "hf_" + "a" * 16 + "/", "--a-", "cookie:", "A_", "Basic aa"):
        began = time.perf_counter()
        Redactor({"MY_TOKEN": "correct horse"})(part * (65536 // len(part)))
        assert time.perf_counter() - began < 20, part


def test_a_stored_token_is_known(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("a-stored-token\n")
    assert Redactor({"HF_HOME": str(tmp_path)})("x a-stored-token") == "x [HF_TOKEN]"
    assert Redactor({"HF_HOME": str(tmp_path / "absent")})("a-stored-token") == "a-stored-token"


def test_our_own_words_stay_whatever_the_password(monkeypatch: pytest.MonkeyPatch) -> None:
    redact = Redactor({"DB_PASSWORD": "over_budget", "MY_TOKEN": "12345678"})
    monkeypatch.setattr(sanitize, "redactor", lambda: redact)
    row = {"outcome": "over_budget", "bytes": 12345678, "error": "over_budget: 12345678"}
    assert sanitize.clean(row) == row | {"error": "[DB_PASSWORD]: [MY_TOKEN]"}


@pytest.mark.repeats
def test_all_words_that_files_have_are_our_own(monkeypatch: pytest.MonkeyPatch) -> None:
    presets = read_presets(packaged_models()).values()
    shapes = [read_architecture_shapes(each.architecture or {}) for each in presets]
    modules = {linear.key for shape in shapes for linear in shape.linears}
    found = {*vocabulary(), *modules, *(each.name for each in presets)}
    words = {word for word in found if len(word) >= 8}
    assert {"synthetic", "trial_complete", "llama-8b", "mlp.down_proj"} <= words
    assert words <= OWN_WORDS
    # Some would do, but each must be seen to stay.
    redact = Redactor({f"PASSWORD_{number}_KEY": word for number, word in enumerate(words)})
    monkeypatch.setattr(sanitize, "redactor", lambda: redact)
    row = {"rows": sorted(words), "other": "synthetic rows"}
    assert sanitize.clean(row)["rows"] == row["rows"]
    assert "synthetic" not in sanitize.clean(row)["other"]

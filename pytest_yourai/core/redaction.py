"""Finds secrets in text: those of the environment however they are written, and known forms."""

from __future__ import annotations

import base64
import binascii
import functools
import html
import json
import os
import re
import urllib.parse
from collections.abc import Iterator, Mapping
from pathlib import Path

from pytest_yourai.core.opening import read_regular

_SECRET_NAME = re.compile(
    r"TOKEN|SECRET|PASSW|PASSPHRASE|CREDENTIAL|CREDS?$|API_?KEY|AUTH(?!OR)|COOKIE|BEARER|WEBHOOK"
    r"|(?:^|_)(?:PASS|PW|DSN|JWT|PAT|SAS)$|_KEY$|(?<!^)(?<!^OLD)PWD$|CONN(?:ECTION)?_?STR(?:ING)?$",
    re.IGNORECASE,
)

_PLACE_NAME = re.compile(r"(?:PATH|FILE|DIR|HOME|SOCK|(?<!WEBHOOK_)URL)$", re.IGNORECASE)
"""Variables that say where a secret lies, not what it is."""

_SHORTEST_SECRET = 8
"""Shorter values (`true`, `1`) would hide ordinary words."""

_SHORTEST_LINE = 16
"""Of a secret with several lines, such as a private key."""

_NUMBER = re.compile(r"[\d.,eE+-]+")

_PASSWORD_OF_ADDRESS = re.compile(
    r"(?<=://)[^\s/:@\"'<>]{0,256}:(?!\d{1,5}(?:[/?#\s]|$))"
    r"(?P<password>[^\s/?#\"'<>]{1,256}|[^\s\"'<>]{1,256})(?=@)"
)
"""It ends at the last `@`: passwords may have some."""

_PREFIXED = re.compile(
    r"\b(?:(?:hf_|api_org_|gh[pousr]_|github_pat_|glpat-|sk-|xox[abeprs]-|xapp-|pypi-|nvapi-|gsk_"
    r"|[sr]k_(?:live|test)_|npm_|dop_v1_|AIza|ya29\.)[A-Za-z0-9_-]{16,512}|A[KS]IA[0-9A-Z]{16}\b)"
)
"""Hugging Face, GitHub, GitLab, OpenAI, Slack, PyPI, NVIDIA, Groq, Stripe, npm, Google, AWS."""

_KNOWN_FORMS = re.compile(
    r"\beyJ[\w-]{8,4096}+\.[\w-]{8,4096}+\.[\w-]{1,4096}"
    r"|-----BEGIN [A-Z ]{0,40}PRIVATE KEY-----(?:[^-]{1,16384}(?:-----END [A-Z ]{0,40}-----)?)?"
    r"|(?<=[Bb]earer\s)[A-Za-z0-9._~+/=-]{8,4096}"
)
"""JWTs, private keys, and bearer tokens."""

_FLAG_OF_TOKENIZER = (
    r"--?(?:[a-z]+[-_])*(?:eos|bos|pad|unk|mask|sep|cls|special|image|stop)[-_]token"
)

_VALUE = r"(?:'[^']{0,4096}'|\"[^\"]{0,4096}\"|[^\s'\"&<>-][^\s'\"&<>]{0,4096})"

_NAMED_FORMS = (
    re.compile(
        r"([?&](?:(?:access_|auth_|id_)?token|api_?key|password|passwd|secret|sig"
        r"|(?:x-amz-)?signature|x-amz-security-token)=)[^\s&\"'<>]{1,4096}",
        re.IGNORECASE,
    ),
    re.compile(
        r"(\b(?:proxy-)?authorization[\"']?\s{0,4}[:=]\s{0,4}[\"']?)"
        r"(?:(?:basic|bearer|token|digest|negotiate|apikey)\s)?[^\s\"',]{1,4096}",
        re.IGNORECASE,
    ),
    re.compile(
        r"(\b(?:(?:set-)?cookie|x-(?:api-key|auth-token))[\"']?\s{0,4}:\s{0,4}[\"']?)"
        r"[^\s\"';]{1,4096}(?:;\s{0,4}[^\s\"';]{1,4096}){0,64}",
        re.IGNORECASE,
    ),
    re.compile(
        rf"((?<![\w-])(?!{_FLAG_OF_TOKENIZER})--?(?:[a-z0-9]{{1,32}}[-_]){{0,8}}"
        rf"(?:token|password|passwd|secret|api[-_]?key|passphrase)(?:=|\s{{1,4}})){_VALUE}",
        re.IGNORECASE,
    ),
    re.compile(
        r"(\b[A-Z][A-Z0-9_]{0,64}_(?:TOKEN|SECRET|PASSWORD|PASSWD|PWD|API_KEY|PASSPHRASE)=)"
        rf"{_VALUE}"
    ),
    re.compile(
        r"(\b(?:password|passwd|passphrase|api_?key|(?:client_)?secret|(?:access_|auth_)token)"
        r"[\"']?\s{0,4}[:=]\s{0,4}(?=[\"']))(?:'[^']{1,4096}'|\"[^\"]{1,4096}\")",
        re.IGNORECASE,
    ),
)
"""The values in addresses, headers, flags, assignments and JSON whose names mean secrets."""

_BASIC = re.compile(r"(?<=[Bb]asic\s)[A-Za-z0-9+/_-]{8,4096}={0,2}")

_HIDDEN = "***"


class Redactor:
    """Replaces each known secret by the name of its variable, and what looks like one by `***`.

    A secret is found as it is, and as repr, JSON, addresses, shells and base64 write it. What looks
    like a token, but is the name of a file that exists, stays.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        names: dict[str, str] = {}
        for name, secret in _secrets(environment):
            for form in _forms(secret):
                names.setdefault(form, name)
        self._names = names
        # The longest first: one secret may be the beginning of another.
        longest_first = sorted(names, key=len, reverse=True)
        self._known = re.compile("|".join(map(_pattern, longest_first))) if names else None

    def __call__(self, text: str) -> str:
        """`text` without secrets."""
        text = self.without_known(text)
        text = _PASSWORD_OF_ADDRESS.sub(_HIDDEN, text)
        text = _BASIC.sub(lambda match: _HIDDEN if _is_basic(match[0]) else match[0], text)
        for named in _NAMED_FORMS:
            text = named.sub(rf"\1{_HIDDEN}", text)
        text = _KNOWN_FORMS.sub(_HIDDEN, text)
        return _PREFIXED.sub(lambda match: match[0] if _is_file(match) else _HIDDEN, text)

    def without_known(self, text: str) -> str:
        """`text` without the secrets of the environment; what merely looks like one stays."""
        if self._known is None:
            return text
        return self._known.sub(lambda match: f"[{self._names[match.group()]}]", text)


@functools.cache
def redactor() -> Redactor:
    """The redactor for the environment of this process at its first call."""
    return Redactor(os.environ)


def _secrets(environment: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Names and values; the parts of a value that are secrets by themselves, too."""
    for name, value in environment.items():
        for match in _PASSWORD_OF_ADDRESS.finditer(value):
            yield name, match["password"]
            yield name, urllib.parse.unquote(match["password"])
        is_secret = _SECRET_NAME.search(name) and not _PLACE_NAME.search(name)
        if is_secret and not (value.startswith("/") and os.path.lexists(value)):
            yield name, value
            yield name, value.strip()
            lines = value.strip().splitlines()
            for line in lines if len(lines) > 1 else ():
                if len(line) >= _SHORTEST_LINE and not line.startswith("-----"):
                    yield name, line
    for token in _stored_tokens(environment):
        yield "HF_TOKEN", token


def _stored_tokens(environment: Mapping[str, str]) -> list[str]:
    """The token that `hf auth login` stores, at huggingface_hub's documented place."""
    home = Path(environment.get("HF_HOME") or "~/.cache/huggingface").expanduser()
    path = Path(environment.get("HF_TOKEN_PATH") or home / "token").expanduser()
    try:
        return [read_regular(path).decode().strip()]
    except (OSError, ValueError):
        return []


def _forms(secret: str) -> Iterator[str]:
    """`secret`, and as programs write it; nothing for a short one."""
    if len(secret) < _SHORTEST_SECRET:
        return
    yield secret
    yield repr(secret)[1:-1]
    yield repr(secret.encode("utf-8", "surrogateescape"))[2:-1]
    for is_ascii in (True, False):
        yield json.dumps(secret, ensure_ascii=is_ascii)[1:-1]
    for safe in ("", "/"):
        quoted = urllib.parse.quote(secret, safe, errors="surrogateescape")
        yield quoted
        yield re.sub("%..", lambda match: match[0].lower(), quoted)
    yield urllib.parse.quote_plus(secret, errors="surrogateescape")
    yield html.escape(secret)
    yield secret.replace("'", "'\"'\"'")
    if not _NUMBER.fullmatch(secret):
        yield from _base64_forms(secret.encode("utf-8", "surrogateescape"))


def _base64_forms(secret: bytes) -> Iterator[str]:
    """What base64 makes of it wherever it lies in a longer text, as after `user:`."""
    for before, first in ((0, 0), (1, 2), (2, 3)):
        # A last character with bits of what follows is left out.
        whole = (before + len(secret)) * 8 // 6
        text = base64.b64encode(bytes(before) + secret).decode("ascii")[first:whole]
        if len(text) >= _SHORTEST_SECRET:
            yield text
            yield text.replace("+", "-").replace("/", "_")


def _pattern(secret: str) -> str:
    """A number is no secret within a longer one."""
    if _NUMBER.fullmatch(secret):
        return rf"(?<![\w.,]){re.escape(secret)}(?!\w|[.,]\d)"
    return re.escape(secret)


def _is_basic(text: str) -> bool:
    """True for base64 of `user:password`."""
    plain = text.rstrip("=").translate(str.maketrans("-_", "+/"))
    try:
        decoded = base64.b64decode(plain + "=" * (-len(plain) % 4)).decode("utf-8")
    except (binascii.Error, ValueError):
        return False
    return ":" in decoded and decoded.isprintable()


_LONGEST_NAME = 1024

_ENDS_OF_NAMES = ("\"'", " \t\n\"'=,;()[]<>`")
"""A name in quotes may have spaces."""


def _is_file(match: re.Match[str]) -> bool:
    """True if what looks like a token is a part of the name of something that exists."""
    text = match.string
    first, last = max(0, match.start() - _LONGEST_NAME), match.end() + _LONGEST_NAME
    for ends in _ENDS_OF_NAMES:
        begin = max((text.rfind(each, first, match.start()) for each in ends), default=-1) + 1
        found = (text.find(each, match.end(), last) for each in (*ends, "/"))
        end = min((each for each in found if each >= 0), default=len(text[:last]))
        name = text[max(begin, first) : end]
        if os.path.lexists(name) or os.path.lexists(name.rstrip(".:?!")):
            return True
    return False

"""Commands quoted for a shell, so that they run as they are printed, and can do nothing else."""

from __future__ import annotations

import shlex

from pytest_yourai.core.redaction import redactor
from pytest_yourai.core.sanitize import without_commands


def command_line(*words: str, is_ascii: bool = False) -> str:
    """A command to paste into a shell, without secrets; other characters escaped if `is_ascii`."""
    # First each word, which may be a path with spaces; then all, for values that follow a flag.
    return redactor()(" ".join(_quoted(redactor()(word), is_ascii=is_ascii) for word in words))


def pytest_line(*arguments: str) -> str:
    """The same for pytest with `arguments`."""
    return command_line("pytest", *arguments)


def _quoted(word: str, *, is_ascii: bool) -> str:
    """`word` as shlex quotes it; as `$'…'` if it is not fit to be printed."""
    is_fit = word.isprintable() and without_commands(word) == word
    if is_fit and (word.isascii() or not is_ascii):
        return shlex.quote(word)
    return f"$'{''.join(_escaped(each, is_ascii=is_ascii) for each in word)}'"


def _escaped(character: str, *, is_ascii: bool) -> str:
    """A character within `$'…'`; as octal bytes, which all shells with such quotes read alike."""
    is_fit = character.isprintable() and (character.isascii() or not is_ascii)
    if is_fit and character not in "\\':#":
        return character
    return "".join(f"\\{byte:03o}" for byte in character.encode("utf-8", "surrogateescape"))

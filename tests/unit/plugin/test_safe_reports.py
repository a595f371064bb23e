from __future__ import annotations

from typing import Any

import pytest

from pytest_yourai.plugin.safe_reports import make_safe, safe_text

from support.hostile import HOSTILE, dangers_in

TOKEN = "hf_" + "x" * 30


def fail(argument: str) -> None:
    local = f"{argument} {TOKEN}"
    raise RuntimeError(local)


def failure() -> pytest.ExceptionInfo[RuntimeError]:
    with pytest.raises(RuntimeError) as caught:
        fail(HOSTILE)
    return caught


def shown(longrepr: Any) -> str:
    text = str(longrepr)
    assert dangers_in(text.encode()) == []
    assert TOKEN not in text
    return text


@pytest.mark.parametrize("style", ["long", "short", "line", "native", "value"])
def test_a_traceback_is_fit_for_a_screen(style: Any) -> None:
    found = failure().getrepr(style=style, showlocals=True, funcargs=True)
    assert "evil" in shown(safe_text(found))


def report(longrepr: Any) -> pytest.TestReport:
    return pytest.TestReport("a", ("a", 1, "a"), {}, "failed", longrepr, "call")


def test_the_reason_of_a_failure_and_of_a_skip() -> None:
    for longrepr in (HOSTILE + TOKEN, ("a.py", 1, HOSTILE + TOKEN)):
        found = report(longrepr)
        make_safe(found)
        assert type(found.longrepr) is type(longrepr)
        assert "evil" in shown("".join(map(str, found.longrepr or "")))


def test_why_a_failure_was_expected() -> None:
    found: Any = report(None)
    found.wasxfail = HOSTILE + TOKEN
    make_safe(found)
    assert "evil" in shown(found.wasxfail)

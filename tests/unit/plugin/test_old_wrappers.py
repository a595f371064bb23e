"""An interruption is described wherever it struck."""

from __future__ import annotations

import sys

import pytest

from pytest_yourai.plugin.old_wrappers import Interruptions


def interrupted() -> None:
    raise KeyboardInterrupt


@pytest.mark.skipif(sys.gettrace() is not None, reason="a tracer names a line for each")
def test_an_instruction_without_a_line_number_is_left_out() -> None:
    interrupted.__code__ = interrupted.__code__.replace(co_linetable=b"")
    with pytest.raises(KeyboardInterrupt) as caught:
        interrupted()
    with pytest.raises(TypeError):
        caught.getrepr()
    Interruptions().pytest_keyboard_interrupt(caught)
    assert "KeyboardInterrupt" in str(caught.getrepr())
    assert len(caught.traceback) == 1

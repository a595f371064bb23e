"""How long a step compiles already: in words, and how often a log has them."""

from __future__ import annotations

from pytest_yourai.core.units import clock

_FIRST_LINE_S = 30.0


def compiling(elapsed_s: float, limit_s: float) -> str:
    """`compiling, 0:35 of at most 15:00`."""
    return f"compiling, {elapsed_of(elapsed_s, limit_s)}"


def elapsed_of(elapsed_s: float, limit_s: float) -> str:
    """`0:35 of at most 15:00`; a limit of 0 is none."""
    return f"{clock(elapsed_s)} of at most {clock(limit_s)}" if limit_s else clock(elapsed_s)


class CompileLog:
    """The lines of one compilation: after half a minute, and whenever that long has doubled."""

    def __init__(self) -> None:
        self._next_s = _FIRST_LINE_S

    def line(self, elapsed_s: float, limit_s: float) -> str | None:
        """The line that is due; None where none is."""
        if elapsed_s < self._next_s:
            return None
        self._next_s = 2 * elapsed_s
        return compiling(elapsed_s, limit_s)

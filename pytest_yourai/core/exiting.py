"""How a process of this project exits."""

from __future__ import annotations

import atexit
import gc


def exit_quickly() -> None:
    """Let this process exit without looking for garbage in all that it has imported.

    That takes Python half a second after a sweep. What it skips is freed with the process.
    """
    atexit.register(gc.freeze)

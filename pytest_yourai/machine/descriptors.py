"""The number of files that this process may have open."""

from __future__ import annotations

import contextlib
import os
import resource

from pytest_yourai.core.errors import OptionError

_NEEDED = 24
"""Free descriptors: two workers' pipes, the files of a sweep, and modules while they are read."""

_WANTED = 1024


def provide_descriptors() -> None:
    """Raise this process's own limit as far as it goes; OptionError if it stays too low."""
    own, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if 0 <= own < _WANTED:
        wanted = _WANTED if most < 0 else min(_WANTED, most)
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))
    opened: list[int] = []
    try:
        while len(opened) < _NEEDED:
            opened.append(os.open(os.devnull, os.O_RDONLY))
    except OSError as problem:
        raise OptionError(
            f"too few files can be opened here ({problem.strerror}): raise the limit with "
            "ulimit -n 1024"
        ) from None
    finally:
        for fd in opened:
            os.close(fd)

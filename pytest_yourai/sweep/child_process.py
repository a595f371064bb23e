"""The pytest that sweeps before training, and a plugin that ends it when its parent dies.

`pytest -p pytest_yourai.sweep.child_process`, with the reading end of a pipe of the parent's in
the environment.
The kernel closes the other end with the parent, however that ends.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Sequence

from pytest_yourai.core.shell import command_line

FD_VARIABLE = "YOURAI_TETHER_FD"

PLUGIN = "pytest_yourai.sweep.child_process"

PLUGIN_ARGUMENTS = ("-p", PLUGIN)

_OPTIONS, _PLUGINS = "PYTEST_ADDOPTS", "PYTEST_PLUGINS"

_NO_PLUGINS = "PYTEST_DISABLE_PLUGIN_AUTOLOAD"

_PROJECTS_KEYS = (
    "addopts",
    "filterwarnings",
    "pythonpath",
    "required_plugins",
    "testpaths",
    "usefixtures",
)
"""What a project tells pytest about its own tests."""

_PATIENCE_S = 10.0
"""For the sweep to write what is known."""


def pytest_configure() -> None:
    # Taken out: what this pytest starts has no such descriptor.
    descriptor = os.environ.pop(FD_VARIABLE, None)
    if descriptor is not None:
        threading.Thread(target=_end_with_parent, args=(int(descriptor),), daemon=True).start()


def _end_with_parent(descriptor: int) -> None:
    while os.read(descriptor, 1):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(_PATIENCE_S)
    os.kill(os.getpid(), signal.SIGKILL)


def command_of_pytest(arguments: Sequence[str]) -> list[str]:
    """With this Python, and as `pytest` itself: a pytest.py in the folder is not taken for it.

    Its name must not begin with pytest_, or pytest takes it for a hook.
    """
    return [sys.executable, "-P", "-m", "pytest", *arguments]


def environment_of_pytest() -> dict[str, str]:
    """The environment of a pytest that runs the packaged tests alone.

    Nothing of the current folder is run there, nor decides which tests are run: it may be that of a
    model, and a project's options are for its own tests. Only our own ini keys count.
    """
    kept = {name: text for name, text in os.environ.items() if name not in (_PLUGINS, _NO_PLUGINS)}
    return {**kept, _OPTIONS: " ".join(["--noconftest", *(f"-o{key}=" for key in _PROJECTS_KEYS)])}


def shown(arguments: Sequence[str]) -> str:
    """The line that shows the command, which people can run themselves."""
    return f"+ {command_line('pytest', *arguments)}"

"""A plugin that ends a pytest whose parent has died, for the sweep before training.

`pytest -p pytest_yourai.tether`, with the reading end of a pipe of the parent's in the environment.
The kernel closes the other end with the parent, however that ends.
"""

from __future__ import annotations

import os
import signal
import threading
import time

FD_VARIABLE = "YOURAI_TETHER_FD"
PLUGIN = "pytest_yourai.tether"
PLUGIN_ARGUMENTS = ("-p", PLUGIN)

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

"""Runs everything, with a verdict as soon as each is known."""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from pytest_yourai.core.device import DeviceInfo
from pytest_yourai.core.power import PowerTrace
from pytest_yourai.machine import environment
from pytest_yourai.machine.power import read_power
from pytest_yourai.machine.sleep import asleep_s
from pytest_yourai.store.profile import created_at
from pytest_yourai.verify import judging
from pytest_yourai.verify.cases import cases
from pytest_yourai.verify.document import Line, Verification
from pytest_yourai.verify.parts import Parts


def verify(
    on_device: Callable[[DeviceInfo], None], on_line: Callable[[Line], None]
) -> Verification:
    """Run everything; `on_line` gets each verdict as soon as it is known.

    InputError where nothing can run here.
    """
    began, slept_s, power = time.monotonic(), asleep_s(), [read_power()]
    awake = environment.keep_awake()
    judged: list[Line] = []
    try:
        with tempfile.TemporaryDirectory(prefix="yourai-verify-") as name:
            parts = Parts(cases(environment.installed_backend()), Path(name))
            with contextlib.closing(parts):
                on_device(parts.device)
                for line in parts.lines():
                    on_line(line)
                    judged.append(line)
                    power.append(read_power())
    finally:
        if awake is not None:
            awake.terminate()
            awake.wait()
    judged.append(judging.conditions(slept_s, asleep_s(), PowerTrace.of(power)))
    on_line(judged[-1])
    return Verification(
        created_at=created_at(),
        took_s=round(time.monotonic() - began, 1),
        environment=environment.describe(parts.device),
        lines=tuple(judged),
    )

"""Faults that workers suffer, each once, as YOURAI_TEST_FAULT names them: `KIND@SITE[:BATCH] …`.

A worker suffers the first that no other one has; those behind it are for its successors. KIND is a
signal's name or a function below. SITE is one of inspect, join, load, compile, warmup, measure,
end, train, train7, save5: steps of a trial are those with batch size BATCH, or of
YOURAI_TEST_FAULT_BATCH, or 2; of training all, or the seventh; save5 is between checkpoint and
adapters of step 5; join, compile, the first step of a trial before it ends, and end, after its last
one, are known to the scripted engine alone. The worker and its death are real. With MLX in it,
faulty_engine.py brings the faults into its engine; the scripted engine has them.
"""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import sys
import time
import urllib.parse
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pytest_yourai.core.errors import ModelError

from support.hostile import HOSTILE

VARIABLE = "YOURAI_TEST_FAULT"

BATCH_VARIABLE = "YOURAI_TEST_FAULT_BATCH"

DONE_VARIABLE = "YOURAI_TEST_FAULT_DONE"
"""The file that marks that it happened; with a number behind it for each fault but the first."""

RELEASE_VARIABLE = "YOURAI_TEST_FAULT_RELEASE"
"""The file that ends `hold`."""

_HELD: list[Any] = []


@dataclass(frozen=True)
class Fault:
    kind: str
    site: str
    batch_size: int
    done: Path

    def strike(self) -> None:
        """Suffer it, if this worker or an earlier one has not yet."""
        action = globals().get(self.kind)
        if action in _EVERY_TIME:
            action()
            return
        if self.done.exists():
            return
        self.done.touch()
        if action is not None:
            action()
            return
        # Sent to this thread: sent to the process, it may come after the next steps.
        signal.raise_signal(getattr(signal, self.kind))

    def is_in_trial(self, site: str, batch_size: int) -> bool:
        """True if it strikes at this site of a trial."""
        return (self.site, self.batch_size) == (site, batch_size)

    def is_in_training(self, step: int) -> bool:
        """True if it strikes after this step of training."""
        return self.site in ("train", f"train{step}")


def read_fault() -> Fault | None:
    """The first of those that the environment names, and that has not happened."""
    for number, text in enumerate(os.environ.get(VARIABLE, "").split()):
        kind, _, place = text.partition("@")
        site, _, batch_size = place.partition(":")
        done = Path(f"{os.environ[DONE_VARIABLE]}{number or ''}")
        if not done.exists():
            return Fault(kind, site, int(batch_size or os.environ.get(BATCH_VARIABLE, "2")), done)
    return None


def hang() -> None:
    while True:
        time.sleep(1)


def hold() -> None:
    """Until the test lets it go on; what it waits between two steps counts in neither."""
    while not Path(os.environ[RELEASE_VARIABLE]).exists():
        time.sleep(0.01)


def fill_memory() -> None:
    """Until the kernel ends it: a quarter of a gigabyte more than its test allows."""
    _HELD.append(bytearray(os.urandom(1 << 20)) * 350)


def lack_memory() -> None:
    """As MLX says it."""
    raise RuntimeError("[malloc] Unable to allocate 80000000000 bytes.")


def print_megabytes() -> None:
    for stream in (1, 2):
        os.write(stream, b"\x00\xff\x1b[31m garbage {] \r" * 250_000 + b"\n")


def malformed_message() -> None:
    os.write(_message_fd(), b'{"number": 1, "body": [}\n')


def truncated_message() -> None:
    os.write(_message_fd(), b'{"number": 1, "body": {"kind": "StepSample", "phase": "mea')
    os.kill(os.getpid(), signal.SIGKILL)


def late_message() -> None:
    """A step of the command before this one."""
    _send_step(step_time_s=999.0)


def stopped_clock() -> None:
    _send_step(step_time_s=0.0)


def time_without_a_number() -> None:
    _send_step(step_time_s=float("nan"))


def negative_memory() -> None:
    _send_step(peak_memory_bytes=-1_000_000_000)


def overflown_memory() -> None:
    _send_step(peak_memory_bytes=10**40)


def _send_step(**values: float) -> None:
    sample: dict[str, Any] = {"kind": "StepSample", "phase": "measure", "loss": 1.0}
    sample |= {"step_time_s": 1.0, "tokens": 1, "footprint_bytes": None}
    sample |= {f"{name}_memory_bytes": 10**12 for name in ("peak", "active", "cache")}
    message = {"number": 1, "body": sample | values}
    os.write(_message_fd(), json.dumps(message).encode() + b"\n")


def leave_processes() -> None:
    """In sessions of their own, and without a living parent."""
    for script in ("exec sleep 600", "sleep 600 & exit"):
        subprocess.Popen(
            ["sh", "-c", script],
            start_new_session=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )


def fill_the_disk() -> None:
    raise OSError(28, "No space left on device")


def refuse() -> None:
    raise ModelError("this model is refused")


def fail() -> None:
    raise ValueError("this was not foreseen")


def tell_secrets() -> None:
    """As they are, and as programs write them."""
    print("my token is", os.environ["HF_TOKEN"], flush=True)
    password = os.environ["NETRC_PWD"]
    basic = base64.b64encode(f"me:{password}".encode()).decode()
    print(password, repr(password), json.dumps(password), urllib.parse.quote(password), basic)
    print(f"Authorization: Basic {basic}", os.environ["DATABASE_URL"], file=sys.stderr, flush=True)
    raise RuntimeError(f"401 for {os.environ['HF_TOKEN']} and hf_{'x' * 30}")


def say_hostile_things() -> None:
    print(HOSTILE, flush=True)
    print(HOSTILE, file=sys.stderr, flush=True)
    raise RuntimeError(HOSTILE)


def leak() -> None:
    """60 MB for each step from now on, of the process and of MLX alike."""
    import mlx.core as mx  # noqa: PLC0415 - MLX is there by now

    _HELD.append(mx.ones((15_000_000,)))
    mx.eval(_HELD[-1])


_EVERY_TIME = (leak,)


def _message_fd() -> int:
    return int(sys.argv[2])

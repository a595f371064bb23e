"""`python -m pytest_yourai.worker COMMAND_FD MESSAGE_FD`: the process with the engine.

`bootstrap.py` starts it, so that nothing of the user's project hides a module of it.

Commands come as JSON lines on the first pipe, messages go out on the second; stdout and stderr
belong to the libraries. While a command runs, a thread sends what MLX holds. Knows nothing of
pytest. Ends itself when the command pipe closes, so that no worker outlives its parent, not even
one that is inside a long evaluation.
"""

from __future__ import annotations

import contextlib
import ctypes
import faulthandler
import gc
import importlib
import os
import queue
import resource
import signal
import sys
import threading
import traceback
from collections.abc import Iterator

from pytest_yourai.core.device import MlxMemory
from pytest_yourai.core.errors import DataError, InputError, RecipeError, WorkerError
from pytest_yourai.core.worker_variables import TEST_ENGINE
from pytest_yourai.worker import messages
from pytest_yourai.worker.freed_memory import keep_freed_memory
from pytest_yourai.worker.joining import JoinRequest
from pytest_yourai.worker.protocol import (
    Engine,
    InvalidLossError,
    Saving,
    StepSample,
    TrainedStep,
    TrainingEvent,
    TrainingRequest,
    TrialRequest,
)
from pytest_yourai.worker.quick_import import import_transformers_quickly

_FREQUENT = StepSample | TrainedStep | MlxMemory

_MEMORY_INTERVAL_S = 0.25
"""Seconds between two messages of what MLX holds."""

_PR_SET_PDEATHSIG = 1
"""From <linux/prctl.h>."""

_MOST_FILES = 65_536
"""Open files that are asked for at most: what no limit holds, macOS refuses."""


class _Wire:
    """The worker's end of both pipes; commands are read in a thread."""

    def __init__(self, command_fd: int, message_fd: int) -> None:
        self._message_fd = message_fd
        self._commands: queue.SimpleQueue[messages.Envelope[messages.Command]] = queue.SimpleQueue()
        self._write_lock = threading.Lock()
        self._number = 0
        self.is_busy = False
        self.stop = threading.Event()
        """Set if the running command is to end early."""
        self._go_on = threading.Event()
        threading.Thread(target=self._read, args=(command_fd,), daemon=True).start()

    def _read(self, command_fd: int) -> None:
        with os.fdopen(command_fd, "rb") as lines:
            for line in lines:
                try:
                    envelope = messages.decode(messages.Command, line)
                except WorkerError:
                    traceback.print_exc()
                    os._exit(1)
                match envelope.body:
                    case messages.Stop():
                        self.stop.set()
                    case messages.GoOn():
                        self._go_on.set()
                    case _:
                        self.stop.clear()
                        self._commands.put(envelope)
        if self.is_busy:
            # With whatever it started: MLX's compiler would outlive it for seconds.
            os.killpg(os.getpgrp(), signal.SIGKILL)
        os._exit(0)

    def next_command(self) -> messages.Command:
        envelope = self._commands.get()
        self._number = envelope.number
        return envelope.body

    def report(self, event: TrainingEvent) -> None:
        """Send it; before a checkpoint wait until the parent has all the steps up to it."""
        self._go_on.clear()
        self.send(event)
        if isinstance(event, Saving):
            self._go_on.wait()

    def send(self, message: messages.Message) -> None:
        """Flush what libraries printed, then send: the parent sees both in that order."""
        if not isinstance(message, _FREQUENT):
            sys.stdout.flush()
            sys.stderr.flush()
        data = memoryview(messages.encode(messages.Envelope(self._number, message)))
        with self._write_lock:
            while data:
                data = data[os.write(self._message_fd, data) :]


@contextlib.contextmanager
def _memory_sent(engine: Engine, wire: _Wire) -> Iterator[None]:
    """Send what MLX holds until the block ends."""
    ended = threading.Event()

    def send() -> None:
        while not ended.wait(_MEMORY_INTERVAL_S):
            wire.send(engine.memory())

    thread = threading.Thread(target=send, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _failed(problem: Exception) -> messages.Failed:
    kind: messages.FailureKind
    text = str(problem) or type(problem).__name__
    match problem:
        case InvalidLossError():
            kind = "invalid_loss"
        case DataError():
            kind = "data"
        case RecipeError():
            kind = "recipe"
        case InputError():
            kind = "model"
        case _:
            kind, text = "exception", f"{type(problem).__name__}: {text}"
    return messages.Failed(kind, text, "".join(traceback.format_exception(problem)))


def _start_engine() -> Engine:
    """MLX's, or the one that a test names; ImportError where MLX is missing."""
    if name := os.environ.get(TEST_ENGINE):
        module, _, attribute = name.partition(":")
        engine: Engine = getattr(importlib.import_module(module), attribute)()
        return engine
    import_transformers_quickly()
    from pytest_yourai.worker.engine.mlx_engine import MlxEngine  # noqa: PLC0415 - may be missing

    return MlxEngine()


@contextlib.contextmanager
def _limits_kept() -> Iterator[None]:
    """Leave the limits as they are: mlx-lm sets its own, which the system may refuse."""
    usual = resource.setrlimit
    resource.setrlimit = lambda *_: None
    try:
        yield
    finally:
        resource.setrlimit = usual


def raise_limits() -> None:
    """Allow as many open files, processes and threads as this user may have."""
    for kind, most in ((resource.RLIMIT_NOFILE, _MOST_FILES), (resource.RLIMIT_NPROC, None)):
        soft, hard = resource.getrlimit(kind)
        wanted = hard if most is None or 0 <= hard < most else most
        if soft == resource.RLIM_INFINITY or 0 <= wanted <= soft:
            continue
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(kind, (wanted, hard))


def _serve(engine: Engine, wire: _Wire) -> None:
    while True:
        command = wire.next_command()
        wire.is_busy = True
        try:
            with _memory_sent(engine, wire):
                answer = _answer(engine, command, wire)
        except Exception as problem:  # noqa: BLE001 - every failure becomes a message
            answer = _failed(problem)
        wire.is_busy = False
        wire.send(answer)


def _answer(engine: Engine, command: messages.Command, wire: _Wire) -> messages.Message:
    match command:
        case messages.Inspect(source, data, reading, wanted):
            return engine.inspect(source, data, reading, wire.send, wanted)
        case JoinRequest():
            return engine.join(command)
        case messages.Load(source):
            return messages.Loaded(engine.load(source))
        case TrialRequest():
            return engine.run_trial(command, wire.send)
        case TrainingRequest():
            return engine.train(command, wire.report, wire.stop.is_set)
        case messages.Ping():
            return messages.Pong()
    raise WorkerError(f"{type(command).__name__} is not a command of its own")


def _end_with_parent() -> None:
    """Let Linux kill this process when its parent ends, also one that is stopped.

    The watchdog does the same, and ends what this one started; but it may be killed itself.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def main() -> None:
    _end_with_parent()
    # Print stacks where the process dies or is asked to, and leave no core file behind.
    faulthandler.enable()
    faulthandler.register(messages.STACK_SIGNAL, all_threads=True)
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    raise_limits()
    keep_freed_memory()
    wire = _Wire(int(sys.argv[1]), int(sys.argv[2]))
    # Objects that imports make live for ever: not looked through meanwhile, nor after each trial.
    gc.disable()
    try:
        with _limits_kept():
            engine = _start_engine()
    except ImportError as problem:
        wire.send(messages.Failed("backend", str(problem), traceback.format_exc()))
        return
    gc.freeze()
    gc.enable()
    wire.send(engine.device())
    _serve(engine, wire)


if __name__ == "__main__":
    main()

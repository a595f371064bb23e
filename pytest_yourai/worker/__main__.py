"""`python -m pytest_yourai.worker COMMAND_FD MESSAGE_FD`: holds the engine, serves the parent.

Commands come as JSON lines on the first pipe, messages go out on the second; stdout and stderr
belong to the libraries. Knows nothing of pytest. Ends itself when the command pipe closes, so
that no worker outlives its parent, not even one that is inside a long evaluation.
"""

from __future__ import annotations

import os
import queue
import sys
import threading
import traceback

from pytest_yourai.engine.protocol import Engine, InvalidLossError
from pytest_yourai.errors import InputError
from pytest_yourai.worker import messages


class _Wire:
    def __init__(self, command_fd: int, message_fd: int) -> None:
        self._message_fd = message_fd
        self._commands: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        threading.Thread(target=self._read, args=(command_fd,), daemon=True).start()

    def _read(self, command_fd: int) -> None:
        with os.fdopen(command_fd, "rb") as lines:
            for line in lines:
                self._commands.put(line)
        os._exit(0)

    def next_command(self) -> messages.Command:
        return messages.decode_command(self._commands.get())

    def send(self, message: messages.Message) -> None:
        """Flush what libraries printed, then send: the parent sees both in that order."""
        if not isinstance(message, messages.Step):
            sys.stdout.flush()
            sys.stderr.flush()
        data = memoryview(messages.encode(message))
        while data:
            data = data[os.write(self._message_fd, data) :]


def _failed(problem: Exception) -> messages.Failed:
    kind: messages.FailureKind = "exception"
    if isinstance(problem, InvalidLossError):
        kind = "invalid_loss"
    elif isinstance(problem, InputError):
        kind = "model"
    text = str(problem) or type(problem).__name__
    if kind == "exception":
        text = f"{type(problem).__name__}: {text}"
    return messages.Failed(kind, text, "".join(traceback.format_exception(problem)))


def _start_engine() -> Engine | messages.Failed:
    try:
        from pytest_yourai.engine.mlx_engine import MlxEngine  # noqa: PLC0415 - may be missing
    except ImportError as problem:
        return messages.Failed("backend", str(problem), traceback.format_exc())
    return MlxEngine()


def _serve(engine: Engine, wire: _Wire) -> None:
    while True:
        command = wire.next_command()
        try:
            match command:
                case messages.Inspect(source, data):
                    wire.send(messages.Inspected(engine.inspect(source, data)))
                case messages.Load(source):
                    wire.send(messages.Loaded(engine.load(source)))
                case messages.RunTrial(request):
                    measurement = engine.run_trial(
                        request, lambda sample: wire.send(messages.Step(sample))
                    )
                    wire.send(messages.Measured(measurement))
        except Exception as problem:  # noqa: BLE001 - every failure becomes a message
            wire.send(_failed(problem))


def main() -> None:
    command_fd, message_fd = map(int, sys.argv[1:])
    wire = _Wire(command_fd, message_fd)
    engine = _start_engine()
    if isinstance(engine, messages.Failed):
        wire.send(engine)
        return
    wire.send(messages.Hello(engine.device()))
    _serve(engine, wire)


if __name__ == "__main__":
    main()

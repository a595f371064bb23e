"""The client, against real worker processes."""

import errno
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from pytest_yourai.core.device import DeviceInfo, MlxMemory
from pytest_yourai.core.errors import WorkerDiedError, WorkerError
from pytest_yourai.models.source import ModelSource
from pytest_yourai.worker import messages
from pytest_yourai.worker.client import WorkerClient
from pytest_yourai.worker.engine.model_folder import make_tokenizer
from pytest_yourai.worker.process import WorkerProcess

from support.models import TINY, write_rows


@pytest.fixture
def worker() -> Iterator[WorkerClient]:
    client = WorkerClient(WorkerProcess())
    yield client
    client.kill()


def answer(worker: WorkerClient) -> messages.Message | None:
    """The next message but those that say what MLX holds, which come at any time."""
    while isinstance(message := worker.receive(60), MlxMemory):
        pass
    return message


def said_hello(worker: WorkerClient) -> WorkerClient:
    assert isinstance(answer(worker), DeviceInfo)
    return worker


@pytest.mark.real_engine
def test_hello_names_the_device(worker: WorkerClient) -> None:
    message = answer(worker)
    assert isinstance(message, DeviceInfo)
    assert message.mlx_version
    assert message.name


@pytest.mark.real_engine
def test_a_mistake_in_the_data_is_distinguished_from_one_of_the_model(
    worker: WorkerClient, tmp_path: Path
) -> None:
    said_hello(worker)
    (tmp_path / "without").mkdir()
    make_tokenizer(tmp_path / "with")
    for folder, row, expected in (
        ("with", {"text": 3}, "data"),
        ("without", {"text": "a fox"}, "model"),
    ):
        source = ModelSource("tiny", TINY, str(tmp_path / folder), True, None, ("qkvo",))
        data = write_rows(tmp_path / "data", [row])
        worker.send(messages.Inspect(source, str(data)))
        message = answer(worker)
        assert isinstance(message, messages.Failed)
        assert message.failure == expected


@pytest.mark.real_engine
def test_an_exception_comes_back_and_the_worker_goes_on(worker: WorkerClient) -> None:
    said_hello(worker)
    source = ModelSource("x", {"model_type": "no_such"}, None, True, None, ("qkvo",))
    for _ in range(2):
        worker.send(messages.Inspect(source, None))
        message = answer(worker)
        assert isinstance(message, messages.Failed)
        assert message.failure == "model"
        assert "Traceback" in message.traceback


def test_silence_gives_nothing_after_the_time_given(worker: WorkerClient) -> None:
    said_hello(worker)
    start = time.monotonic()
    assert worker.receive(0.2) is None
    assert 0.2 <= time.monotonic() - start < 60


def test_waiting_costs_no_processor_time(worker: WorkerClient) -> None:
    said_hello(worker)
    before = time.process_time()
    assert worker.receive(1.0) is None
    assert time.process_time() - before < 0.5


def test_a_death_is_reported_with_its_signal(worker: WorkerClient) -> None:
    said_hello(worker)
    os.kill(worker.pid, signal.SIGKILL)
    with pytest.raises(WorkerDiedError) as caught:
        worker.receive(60)
    assert caught.value.returncode == -signal.SIGKILL
    with pytest.raises(WorkerDiedError):
        worker.receive(60)
    with pytest.raises(WorkerDiedError):
        worker.send(messages.Load(ModelSource("x", {}, None, True, None, ("qkvo",))))


def test_nothing_is_signalled_once_a_worker_was_reaped(
    worker: WorkerClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    # By then its number may be that of another process group.
    said_hello(worker)
    os.kill(worker.pid, signal.SIGKILL)
    with pytest.raises(WorkerDiedError):
        worker.receive(60)
    usual, signalled = os.kill, []

    def kill(pid: int, number: int) -> None:
        signalled.append(pid)
        usual(pid, number)

    monkeypatch.setattr(os, "killpg", lambda group, _: signalled.append(group))
    monkeypatch.setattr(os, "kill", kill)
    worker.print_stacks()
    assert worker.kill() == -signal.SIGKILL
    assert worker.close() == -signal.SIGKILL
    assert worker.pid not in signalled


def test_a_refused_process_is_an_error_and_leaves_no_pipe(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))

    monkeypatch.setattr(subprocess, "Popen", refuse)
    before = psutil.Process().num_fds()
    with pytest.raises(WorkerError, match="cannot be started: .*Cannot allocate memory"):
        WorkerProcess()
    assert psutil.Process().num_fds() == before


def test_close_lets_the_worker_end_itself() -> None:
    client = said_hello(WorkerClient(WorkerProcess()))
    pid = client.pid
    assert client.close() == 0
    assert not psutil.pid_exists(pid)


def test_kill_ends_even_a_stopped_worker() -> None:
    client = said_hello(WorkerClient(WorkerProcess()))
    os.kill(client.pid, signal.SIGSTOP)
    assert client.kill() == -signal.SIGKILL


@pytest.mark.real_engine
def test_nothing_that_the_libraries_print_reaches_the_messages(worker: WorkerClient) -> None:
    said_hello(worker)
    tiny = {
        "model_type": "llama",
        "hidden_size": 64,
        "num_hidden_layers": 1,
        "intermediate_size": 64,
        "num_attention_heads": 1,
        "rms_norm_eps": 1e-5,
        "vocab_size": 64,
    }
    from pytest_yourai.core.config import Quantization  # noqa: PLC0415

    # mlx-lm prints a line when it quantizes.
    source = ModelSource("x", tiny, None, True, Quantization(4), ("qkvo",))
    worker.send(messages.Load(source))
    assert isinstance(answer(worker), messages.Loaded)
    output = worker.take_output()
    assert "Quantized model with" in output.stdout
    assert worker.take_output().stdout == ""

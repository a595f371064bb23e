"""Put on a worker's path: makes it suffer, once, where and how YOURAI_TEST_FAULT says.

`KIND@SITE`, KIND a signal's name or a function below, SITE one of inspect, load, warmup, measure,
train, train7, save5. Steps are those of the configuration with batch size 2; of training all, or
the seventh; save5 is between checkpoint and adapters of step 5. The worker, its engine and its
death are real.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import importlib.util
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

_TRIAL = "pytest_yourai.worker.engine.trial"
_TRAINING = "pytest_yourai.worker.engine.training"
_WEIGHTS = "pytest_yourai.worker.engine.weights"
_HELD: list[Any] = []


def hang() -> None:
    while True:
        time.sleep(1)


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
    sample = {"kind": "StepSample", "phase": "measure", "loss": 1.0}
    sample |= {"step_time_s": 999.0, "tokens": 1, "footprint_bytes": None}
    sample |= {f"{name}_memory_bytes": 10**12 for name in ("peak", "active", "cache")}
    message = {"number": 1, "body": sample}
    os.write(_message_fd(), json.dumps(message).encode() + b"\n")


def fill_the_disk() -> None:
    raise OSError(28, "No space left on device")


def fail() -> None:
    raise ValueError("this was not foreseen")


def tell_secrets() -> None:
    print("my token is", os.environ["HF_TOKEN"], flush=True)
    raise RuntimeError(f"401 for {os.environ['HF_TOKEN']} and hf_{'x' * 30}")


def leak() -> None:
    """60 MB for each step from now on, of the process and of MLX alike."""
    import mlx.core as mx  # noqa: PLC0415 - MLX is there by now

    _HELD.append(mx.ones((15_000_000,)))
    mx.eval(_HELD[-1])


_EVERY_TIME = (leak,)


def _message_fd() -> int:
    return int(sys.argv[2])


def _strike(kind: str) -> None:
    action = globals().get(kind)
    once = Path(os.environ["YOURAI_TEST_FAULT_DONE"])
    if action in _EVERY_TIME:
        action()
    elif not once.exists():
        once.touch()
        if action is not None:
            action()
            return
        os.kill(os.getpid(), getattr(signal, kind))
        if kind == "SIGSEGV":
            # Until the signal is delivered.
            threading.Event().wait(1)


def _patch_weights(module: ModuleType, kind: str, site: str) -> None:
    if site not in ("inspect", "load"):
        return
    usual = getattr(module, site)

    def struck(source: Any) -> Any:
        _strike(kind)
        return usual(source)

    setattr(module, site, struck)


def _patch_training(module: ModuleType, kind: str, site: str) -> None:
    if site.startswith("save"):
        save = module._Run._save_adapters

        def save_adapters(run: Any) -> None:
            if run.step == int(site.removeprefix("save")):
                _strike(kind)
            save(run)

        module._Run._save_adapters = save_adapters
        return
    if not site.startswith("train"):
        return
    step = int(site.removeprefix("train") or 0)
    usual = module._Run.on_train_loss_report

    def report(run: Any, train_info: Any) -> None:
        usual(run, train_info)
        if step in (0, run.step):
            _strike(kind)

    module._Run.on_train_loss_report = report


def _patch_trial(module: ModuleType, kind: str, site: str) -> None:
    usual = module._Recorder.on_train_loss_report

    def report(recorder: Any, train_info: Any) -> None:
        phase = recorder.phase
        usual(recorder, train_info)
        if phase == site and recorder._request.config.batch_size == 2:
            _strike(kind)

    module._Recorder.on_train_loss_report = report


class _Patcher(importlib.abc.MetaPathFinder):
    def __init__(self, kind: str, site: str) -> None:
        self._kind, self._site = kind, site

    def find_spec(
        self, name: str, path: Sequence[str] | None, _target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        patches = {_TRIAL: _patch_trial, _TRAINING: _patch_training, _WEIGHTS: _patch_weights}
        patch = patches.get(name)
        if patch is None:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        if spec is None or spec.loader is None:
            return None
        execute = spec.loader.exec_module

        def exec_module(module: ModuleType) -> None:
            execute(module)
            patch(module, self._kind, self._site)

        spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec


if "pytest_yourai.worker" in sys.orig_argv and (fault := os.environ.get("YOURAI_TEST_FAULT")):
    sys.meta_path.insert(0, _Patcher(*fault.split("@")))

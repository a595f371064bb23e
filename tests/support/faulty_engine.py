"""The engine that uses MLX, with the fault that the environment names brought into it."""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import importlib.util
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import Any

from support.worker_faults import Fault, read_fault

_TRIAL = "pytest_yourai.worker.engine.trial"
_TRAINING = "pytest_yourai.worker.engine.training"
_WEIGHTS = "pytest_yourai.worker.engine.weights"


def _patch_weights(module: ModuleType, fault: Fault) -> None:
    if fault.site not in ("inspect", "load"):
        return
    usual = getattr(module, fault.site)

    def struck(source: Any) -> Any:
        fault.strike()
        return usual(source)

    setattr(module, fault.site, struck)


def _patch_training(module: ModuleType, fault: Fault) -> None:
    save, usual = module.TrainingRun._save_adapters, module.TrainingRun.on_train_loss_report

    def save_adapters(run: Any) -> None:
        if fault.site == f"save{run.progress.step}":
            fault.strike()
        save(run)

    def report(run: Any, train_info: Any) -> None:
        usual(run, train_info)
        if fault.is_in_training(run.progress.step):
            fault.strike()

    module.TrainingRun._save_adapters = save_adapters
    module.TrainingRun.on_train_loss_report = report


def _patch_trial(module: ModuleType, fault: Fault) -> None:
    usual = module._Recorder.on_train_loss_report

    def report(recorder: Any, train_info: Any) -> None:
        phase = recorder.phase
        usual(recorder, train_info)
        if fault.is_in_trial(phase, recorder._request.config.batch_size):
            fault.strike()

    module._Recorder.on_train_loss_report = report


class _Patcher(importlib.abc.MetaPathFinder):
    def __init__(self, fault: Fault) -> None:
        self._fault = fault

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
            patch(module, self._fault)

        spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec


def faulty_engine() -> Any:
    """In place of MLX's own, for YOURAI_TEST_ENGINE."""
    if (found := read_fault()) is not None:
        sys.meta_path.insert(0, _Patcher(found))
    from pytest_yourai.worker.engine.mlx_engine import MlxEngine  # noqa: PLC0415 - patched now

    return MlxEngine()

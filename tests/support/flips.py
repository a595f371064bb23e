"""One random bit of a file that is read back is another: what its reader makes of that."""

from __future__ import annotations

import abc
import json
import os
import random
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
from safetensors.numpy import load_file, save_file

from pytest_yourai.core.errors import YouraiError
from pytest_yourai.core.files import write_json
from pytest_yourai.core.results import TrialResult
from pytest_yourai.estimate.calibration import Calibration
from pytest_yourai.estimate.calibration_file import (
    cache_file,
    read_lessons,
    set_aside_if_damaged,
    write_lessons,
)
from pytest_yourai.store.config_rows import configuration
from pytest_yourai.store.history import History, read_history
from pytest_yourai.store.journal import Journal
from pytest_yourai.store.profile_reader import read_profiles
from pytest_yourai.store.rows import TrialRow
from pytest_yourai.training.checkpoint import read_checkpoint
from pytest_yourai.worker.checkpoint_file import CHECKPOINT, metadata_of, seal

from support.profiles import document, stored

HARMLESS, REPORTED, WRONG, TRACEBACK = "read right", "reported", "wrong", "traceback"

_KINDS = (HARMLESS, REPORTED, WRONG, TRACEBACK)


class Target(abc.ABC):
    """A file in `folder`, as it is written, and what is right to read out of it."""

    name: ClassVar[str]
    path: Path

    @abc.abstractmethod
    def judge(self) -> tuple[str, int]:
        """What became of the reader of a flipped file, and how many results it lacks."""


class JournalTarget(Target):
    """Of two runs. A flip is wrong where a result differs, or is missing, without a word."""

    name = "journal"

    def __init__(self, folder: Path) -> None:
        self.path = folder / "benchmark_log.jsonl"
        results = [*stored().results.values()]
        for run_id in ("first", "second"):
            self._write(run_id, results)
        self._right = read_history(self.path)

    def _write(self, run_id: str, results: Sequence[TrialResult]) -> None:
        log = Journal(self.path)
        run = {"run_id": run_id, "model": "llama-8b"}
        log.write("benchmark_start", **run, boot_id="b", pid=1, identity={"model": "llama-8b"})
        budget = {"memory_limit_bytes": 24 * 10**9, "memory_limit_is_detected": True}
        log.write("model_start", **run, **budget, device={"backend": "cuda", "name": "H200"})
        for result in results:
            log.write("trial_start", **run, **configuration(result.config))
            log.write("trial_complete", **run, **TrialRow.from_result(result).as_json())
        log.write("benchmark_complete", **run, complete=True, trials=len(results))
        log.close()

    def judge(self) -> tuple[str, int]:
        found = read_history(self.path)
        if found == self._right:
            return HARMLESS, 0
        left, right = _results(found), _results(self._right)
        is_silent = found.unreadable_lines == 0
        return (WRONG if left - right or is_silent else REPORTED), (right - left).total()


def _results(history: History) -> Counter[str]:
    """Those that a resumed run could keep: of runs whose budget is known."""
    return Counter(
        repr(result) for run in history.runs for result in run.results.values() if run.budget_bytes
    )


class ProfileTarget(Target):
    """A flip is wrong where another profile is read, whatever differs in it."""

    name = "profile"

    def __init__(self, folder: Path) -> None:
        self.path = folder / "optimal_config.json"
        write_json(self.path, document(), "--yourai-output")
        self._right = read_profiles(self.path)

    def judge(self) -> tuple[str, int]:
        return (HARMLESS if read_profiles(self.path) == self._right else WRONG), 0


class CalibrationTarget(Target):
    """A flip is wrong where other factors are read, or none without a word."""

    name = "calibration"

    def __init__(self, folder: Path) -> None:
        os.environ["XDG_CACHE_HOME"] = str(folder)
        factors = (1.0011370666169164, 1.021898982579147, 1.0228343142071923, 1.0841800689794854)
        learned = Calibration(factors, (0.002, 0.03, 0.015, 0.075), 12)
        self._right = {"lora": {"m": learned}}
        write_lessons("here", "m", {"lora": learned})
        self.path = cache_file()

    def judge(self) -> tuple[str, int]:
        found = read_lessons("here")
        if found == self._right:
            return HARMLESS, 0
        line = set_aside_if_damaged("here")
        return (REPORTED if line and not found else WRONG), 0


class CheckpointTarget(Target):
    """A flip is wrong where a checkpoint is read whose run or tensors are others."""

    name = "checkpoint"

    def __init__(self, folder: Path) -> None:
        self._folder, self.path = folder, folder / CHECKPOINT
        values = np.random.default_rng(0).standard_normal(400).astype(np.float32)
        run = {"step": 150, "model": "tiny", "max_steps": 160, "batch_size": 2, "num_layers": 2}
        more = {"rank": 4, "max_seq_length": 32, "lora_keys": None, "learning_rate": 1e-5}
        self._tensors = {"adapters.lora_a": values, "optimizer.v": values**2}
        save_file(self._tensors, self.path, metadata=metadata_of(json.dumps({**run, **more})))
        seal(self.path)
        self._right = read_checkpoint(folder)

    def judge(self) -> tuple[str, int]:
        if read_checkpoint(self._folder) != self._right:
            return WRONG, 0
        found = load_file(self.path)
        same = found.keys() == self._tensors.keys() and all(
            np.array_equal(found[name], each) for name, each in self._tensors.items()
        )
        return (HARMLESS if same else WRONG), 0


TARGETS: tuple[Callable[[Path], Target], ...] = (
    JournalTarget,
    ProfileTarget,
    CalibrationTarget,
    CheckpointTarget,
)


def flip_bits(target: Target, flips: int, chance: random.Random) -> Counter[str]:
    """How many of `flips`, one bit at a time, ended in which way; `lost`: results, `most lost`."""
    written, found = target.path.read_bytes(), Counter[str]()
    for _ in range(flips):
        bit = chance.randrange(8 * len(written))
        flipped = bytearray(written)
        flipped[bit // 8] ^= 1 << bit % 8
        target.path.write_bytes(flipped)
        try:
            end, lost = target.judge()
        except YouraiError:
            end, lost = REPORTED, 0
        except Exception:  # noqa: BLE001 - whatever else comes out would be a traceback
            end, lost = TRACEBACK, 0
        found.update({end: 1, "flips": 1, "lost": lost, "lose several": int(lost > 1)})
        if end in (WRONG, TRACEBACK):
            print(f"{target.name}: bit {bit}: {end}")
    target.path.write_bytes(written)
    return found


def table(found: dict[str, Counter[str]]) -> list[str]:
    """A Markdown table of the flips of each kind of file."""
    columns = ("flips", *_KINDS, "lost", "lose several")
    titles = ("file", "flips", *_KINDS, "results lost", "flips that lose several")
    lines = [f"| {' | '.join(titles)} |", "|---" + "|--:" * len(columns) + "|"]
    for name, counted in found.items():
        lines.append(f"| {name} | {' | '.join(str(counted[each]) for each in columns)} |")
    return lines

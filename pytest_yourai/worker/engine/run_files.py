"""The files of a training run: its checkpoint, its last adapters and its best."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import mlx.core as mx
from mlx.optimizers import Optimizer

from pytest_yourai.core.errors import CheckpointError, DataError, OutputError
from pytest_yourai.core.files import write_atomically
from pytest_yourai.worker.checkpoint_file import ADAPTER_CONFIG, BEST_FOLDER
from pytest_yourai.worker.engine import checkpoint, distributed
from pytest_yourai.worker.engine.adapters import BaseModel, adapter_config
from pytest_yourai.worker.progress import TrainingProgress
from pytest_yourai.worker.protocol import TrainingRequest


class RunFiles:
    """Saves the adapted model and its optimizer into the adapter path; `rows` are trained on.

    The last adapters are there, too, and the best in a folder in it; or the best alone are there.
    Of several ranks only the first that sees the folder writes and reads.
    """

    def __init__(
        self, model: BaseModel, optimizer: Optimizer, request: TrainingRequest, rows: int
    ) -> None:
        self._model, self._optimizer, self._request, self._rows = model, optimizer, request, rows
        self._folder = Path(request.adapter_path)
        self._keeps_last = request.parameters.keep != "best"
        self._keeps_best = request.parameters.keep != "last"
        self._writer: int | None = 0

    @property
    def is_written_here(self) -> bool:
        """True on the rank that writes, once the run has begun."""
        return self._writer == distributed.rank()

    def begin(self) -> dict[str, Any]:
        """Make the folder fit to save into; the checkpoint's metadata, empty for a new run."""
        self._writer = self._choose_writer()
        if self.is_written_here:
            checkpoint.remove_leftovers(self._folder)
        about = self._restore(self._writer or 0) if self._request.first_step else {}
        if self.is_written_here:
            self._write_config(self._folder)
        return about

    def _choose_writer(self) -> int | None:
        """The first rank that sees the folder; None where none does, and nothing need be kept."""
        if not distributed.is_one_of_several():
            return 0
        mark = self._request.folder_mark
        # Also a barrier: the mark is removed after all have looked for it.
        [seen] = distributed.from_all(float((self._folder / (mark or "")).exists()))
        found = next((rank for rank, sees in enumerate(seen) if sees), None)
        if found is None and mark is not None:
            raise OutputError(
                f"--adapter-path: no rank sees the folder {self._folder} of this machine: name a "
                "folder that it shares with one of the hosts, or add this machine to the hosts"
            )
        return found

    def _restore(self, reader: int) -> dict[str, Any]:
        """Restore the checkpoint; DataError where the data has another number of rows by now.

        CheckpointError where it is of another step than asked for, so that no step is left out.
        """
        about = checkpoint.restore_checkpoint(
            self._folder, self._model.module, self._optimizer, reader
        )
        if about["step"] != self._request.first_step:
            raise CheckpointError(
                f"{self._folder} has a checkpoint of step {about['step']} by now, where step "
                f"{self._request.first_step} was: run the same command again"
            )
        if self._rows != about["rows"]:
            raise DataError(
                f"{self._request.data} has {self._rows} rows, and had {about['rows']} when "
                "training began: put the old rows back, or train anew with another --adapter-path"
            )
        return about

    def save_checkpoint(self, progress: TrainingProgress, random: mx.array) -> None:
        """Save what a run continues from; `random` is the random state after that step."""
        if not self.is_written_here:
            return
        request, source = self._request, self._model.source
        is_stored_quantized = "quantization" in source.architecture
        bits = str(source.quantization.bits) if source.quantization else "none"
        about = {
            **(request.about or {}),
            "model": source.name,
            **dataclasses.asdict(request.config),
            "quantize": None if is_stored_quantized else bits,
            "data": request.data,
            **dataclasses.asdict(request.parameters),
            "learning_rate": request.recipe.learning_rate,
            "seed": request.recipe.seed,
            "mask_prompt": request.recipe.mask_prompt,
            "recipe": dataclasses.asdict(request.recipe),
            "rows": self._rows,
            **dataclasses.asdict(progress),
        }
        checkpoint.save_checkpoint(self._folder, self._model.module, self._optimizer, about, random)

    def save_last(self, step: int, *, is_numbered: bool) -> None:
        """Save the adapters, unless the best alone are kept; also under the step's number."""
        if not (self._keeps_last and self.is_written_here):
            return
        checkpoint.save_adapters(self._folder, self._model.module)
        if is_numbered:
            checkpoint.save_adapters(self._folder, self._model.module, step)

    def save_best(self) -> None:
        """Save the adapters as the best, if these are kept."""
        if not (self._keeps_best and self.is_written_here):
            return
        folder = self._folder
        if self._keeps_last:
            folder = folder / BEST_FOLDER
            _make_folder(folder)
            self._write_config(folder)
        checkpoint.save_adapters(folder, self._model.module)

    def _write_config(self, folder: Path) -> None:
        entries: Mapping[str, Any] = {
            **adapter_config(self._model, self._request),
            "adapter_path": str(folder),
        }
        text = json.dumps(entries, indent=4, sort_keys=True)
        write_atomically(folder / ADAPTER_CONFIG, f"{text}\n", "--adapter-path")


def _make_folder(folder: Path) -> None:
    """Not through a link: what is written there replaces files."""
    try:
        folder.mkdir(exist_ok=True)
    except OSError as problem:
        raise OutputError(
            f"--adapter-path: {folder} cannot be made: {problem.strerror}; name another folder"
        ) from None
    if folder.is_symlink():
        raise OutputError(f"--adapter-path: {folder} is a link: remove it, or name another folder")

"""A profile that was read from a file, with its three answers."""

from __future__ import annotations

import dataclasses
import datetime
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_yourai.api.frame import columns_of
from pytest_yourai.api.html import page_of
from pytest_yourai.core.axes import AXES, LORA_KEYS, value_text
from pytest_yourai.core.config import Objective, canonical_keys, comparable_keys
from pytest_yourai.core.errors import OptionError, RecordingError
from pytest_yourai.core.ranking import best, soak_survivors
from pytest_yourai.core.results import TrialResult
from pytest_yourai.core.sanitize import printable
from pytest_yourai.core.units import GB, scaled
from pytest_yourai.report.answer_lines import speed_and_need
from pytest_yourai.report.profile_facts import where_measured
from pytest_yourai.store.profile_reader import read_profiles
from pytest_yourai.store.stored_profile import StoredProfile

if TYPE_CHECKING:
    import pandas as pd


def load(path: str | os.PathLike[str], *, model: str | None = None) -> Profile:
    """The profile in the file `path`; of benchmark results that of the model called `model`.

    RecordingError, an InputError, with a sentence that names file and key, for a file that cannot
    be read, is damaged or of another program, and where `model` is missing or not in it.
    """
    found = read_profiles(_path(path))
    of_model = [each for each in found if model in (None, each.model)]
    if len(of_model) == 1:
        return Profile(of_model[0])
    names = ", ".join(each.model for each in found)
    lacking = f"it has {names}, and not {printable(str(model))}: name one of them"
    several = f"it has results of {names}: name one of them as model"
    raise RecordingError(f"{found[0].name}: {lacking if not of_model else several}")


def _path(path: str | os.PathLike[str]) -> Path:
    text = os.fspath(path)
    if not isinstance(text, str) or "\0" in text:
        raise RecordingError(f"{printable(repr(text))} is not a path: name a profile")
    return Path(text).expanduser()


@dataclass(frozen=True, eq=False, repr=False)
class Profile:
    """What one sweep measured of one model. A notebook shows it as tables.

    Texts of the file have no control characters and no secrets, but may have markup.
    """

    _stored: StoredProfile

    @property
    def name(self) -> str:
        """The file, as it was named."""
        return self._stored.name

    @property
    def model(self) -> str:
        """The model that was measured."""
        return self._stored.model

    @property
    def machine(self) -> str:
        """The machine in one line: `NVIDIA H200 (cuda), 150.8 GB`, with several ranks ` × 2`."""
        return where_measured(self._stored)

    @property
    def budget_gb(self) -> float | None:
        """The memory budget in GB (1e9 bytes); None where the file has none."""
        return scaled(self._stored.memory_limit_bytes, GB)

    @property
    def objective(self) -> Objective:
        """What the sweep called best: the score, or tokens per second."""
        return self._stored.objective

    @property
    def complete(self) -> bool:
        """False for a sweep that was interrupted."""
        return self._stored.complete

    @property
    def created_at(self) -> datetime.datetime | None:
        """The time of the measurement, with its zone; None where the file has none."""
        return self._stored.created_at

    @property
    def rows(self) -> tuple[TrialResult, ...]:
        """The result of each configuration, in the order of the file; also those not run."""
        return tuple(self._stored.results.values())

    @property
    def largest(self) -> TrialResult | None:
        """The highest score, which is batch size × rank × layers; None where nothing fits."""
        return self._stored.answers.largest

    @property
    def fastest(self) -> TrialResult | None:
        """The most tokens per second; None where nothing fits, or no speed is known."""
        return self._stored.answers.fastest

    @property
    def leanest(self) -> TrialResult | None:
        """The least minimum memory within 3 % of the fastest; None as for `fastest`."""
        return self._stored.answers.leanest

    def at(
        self,
        *,
        batch_size: int | None = None,
        rank: int | None = None,
        num_layers: int | None = None,
        max_seq_length: int | None = None,
        grad_checkpoint: bool | None = None,
        fine_tune_type: str | None = None,
        optimizer: str | None = None,
        lora_keys: str | Iterable[str] | None = None,
        dropout: float | None = None,
        grad_accumulation_steps: int | None = None,
    ) -> Profile:
        """The same profile with the rows alone that have these values; None takes any.

        Lengths are in tokens, layers counted from the end of the model; `lora_keys` is `qkvo`,
        `qv`, `all`, or paths within a layer. OptionError where no row has them.
        """
        wanted: dict[str, Any] = {
            "batch_size": batch_size,
            "rank": rank,
            "num_layers": num_layers,
            "max_seq_length": max_seq_length,
            "grad_checkpoint": grad_checkpoint,
            "fine_tune_type": fine_tune_type,
            "optimizer": optimizer,
            "lora_keys": None if lora_keys is None else _keys(lora_keys),
            "dropout": dropout,
            "grad_accumulation_steps": grad_accumulation_steps,
        }
        rows = self.rows
        for axis in AXES:
            value = wanted[axis.name]
            if value is None:
                continue
            # The same modules may be named by a set or by paths.
            same = comparable_keys if axis is LORA_KEYS else _unchanged
            kept = tuple(row for row in rows if same(axis.of(row.config)) == same(value))
            if not kept:
                raise _lacking(self.name, axis.name, value, {axis.of(row.config) for row in rows})
            rows = kept
        return Profile(_restricted(self._stored, rows))

    def to_pandas(self) -> pd.DataFrame:
        """The rows as a pandas DataFrame: memory in GB (1e9 bytes), times in seconds.

        ImportError where pandas is not installed.
        """
        try:
            import pandas as pd  # noqa: PLC0415 - an optional package
        except ImportError:
            raise ImportError(
                "to_pandas needs pandas: install it with pip install pandas"
            ) from None
        frame = pd.DataFrame(columns_of(self.rows))
        frame.attrs.update(model=self.model, machine=self.machine, budget_gb=self.budget_gb)
        return frame

    def __repr__(self) -> str:
        fitting = len(self._stored.successes)
        lines = [f"{self.name}: {self.model} on {self.machine}, {fitting} of {len(self.rows)} fit"]
        lines += [
            f"  {', '.join(names)}: {self._stored.naming.name(result.config)}, "
            f"{speed_and_need(result)}"
            for names, result in self._stored.answers
        ]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        return page_of(self._stored, self._stored.answers)


def _unchanged(value: Any) -> Any:
    return value


def _keys(lora_keys: str | Iterable[str]) -> str:
    names = lora_keys.split(",") if isinstance(lora_keys, str) else list(lora_keys)
    try:
        return canonical_keys(names)
    except ValueError as problem:
        raise OptionError(f"lora_keys: {','.join(names)!r} is not valid: {problem}") from None


def _lacking(name: str, axis: str, wanted: Any, found: set[Any]) -> OptionError:
    has = ", ".join(map(value_text, sorted(found)))
    is_text_for_number = isinstance(wanted, str) and not any(
        isinstance(each, str) for each in found
    )
    shown = printable(repr(wanted) if is_text_for_number else value_text(wanted))
    return OptionError(f"{name}: no such row has {axis} {shown}: choose from {has}")


def _restricted(stored: StoredProfile, rows: Iterable[TrialResult]) -> StoredProfile:
    results = {row.config: row for row in rows}
    optimum = stored.optimum
    if optimum is not None and optimum.config not in results:
        optimum = best(soak_survivors(results.values(), stored.soaks), stored.objective)
    return dataclasses.replace(stored, results=results, optimum=optimum)

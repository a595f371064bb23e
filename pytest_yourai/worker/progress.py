"""How far a training run is: what its checkpoint keeps beside arrays, and where saving falls."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingProgress:
    """The counts of a run after `step` steps; checkpoints have each under its name.

    `best_loss` is the lowest on the validation set after a step, that of `best_step`; the
    validations since then are `stale_validations`. None: not validated yet.
    """

    step: int = 0
    trained_tokens: int = 0
    skipped_batches: int = 0
    validated_step: int | None = None
    best_step: int | None = None
    best_loss: float | None = None
    stale_validations: int = 0

    @classmethod
    def of_checkpoint(cls, about: Mapping[str, Any]) -> TrainingProgress:
        """That of a checkpoint's metadata; older versions wrote fewer keys."""
        names = [field.name for field in dataclasses.fields(cls)]
        return cls(**{name: about[name] for name in names if name in about})

    def trained(self, tokens: int) -> TrainingProgress:
        """After one more step with `tokens`."""
        return dataclasses.replace(
            self, step=self.step + 1, trained_tokens=self.trained_tokens + tokens
        )

    def skipped(self) -> TrainingProgress:
        """After one more step, whose batch was skipped."""
        return dataclasses.replace(
            self, step=self.step + 1, skipped_batches=self.skipped_batches + 1
        )

    def validated(self, loss: float) -> TrainingProgress:
        """After a validation. That before the first step is of no adapters, and never the best."""
        found = dataclasses.replace(self, validated_step=self.step)
        if not self.step:
            return found
        if loss < (float("inf") if self.best_loss is None else self.best_loss):
            return dataclasses.replace(
                found, best_step=self.step, best_loss=loss, stale_validations=0
            )
        return dataclasses.replace(found, stale_validations=self.stale_validations + 1)

    @property
    def is_best(self) -> bool:
        """True if no other step had better adapters."""
        return bool(self.step) and self.best_step == self.step


@dataclass(frozen=True, slots=True)
class Cycles:
    """A run of `max_steps` steps whose weights change each `accumulation` steps: a whole cycle.

    Saving and validating falls on whole cycles, since gradients between them are mlx-lm's own.
    """

    max_steps: int
    accumulation: int = 1

    def is_whole(self, step: int) -> bool:
        return step % self.accumulation == 0

    def is_due(self, step: int, interval: int) -> bool:
        """True for the first whole cycle at or after each multiple of `interval` steps."""
        return self.is_whole(step) and step // interval > (step - self.accumulation) // interval

    def is_last(self, step: int) -> bool:
        """True for the last whole cycle: later steps change nothing."""
        return step == self.max_steps - self.max_steps % self.accumulation

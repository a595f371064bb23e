"""The exceptions of this package.

    YouraiError
    ├── InputError            the user can fix it: one sentence, what is wrong and what to do
    │   ├── OptionError       a flag or an ini key
    │   │   └── TooLittleMemoryError  no budget is left on this machine now
    │   ├── MatrixError       a matrix file
    │   ├── ModelError        a preset, a model folder, its weights or its LoRA keys
    │   │   ├── UnavailableError  it is not there: gated, missing, out of reach
    │   │   └── WorkerLostError   the worker ended over it, before any trial
    │   ├── DataError         training data, for whatever model
    │   ├── RecordingError    a file of recorded measurements
    │   ├── CheckpointError   a training run that cannot be gone on with
    │   ├── BackendError      MLX cannot run here
    │   └── OutputError       a file that cannot be written
    ├── SweepFailedError      the sweep before training ended without an answer
    ├── SafetyStopError       a trial must not go on: the machine would suffer
    └── WorkerError           the worker process did not keep to the protocol
        ├── WorkerDiedError   it ended, or closed its messages
        └── WorkerFailedError its engine raised

The pytest layer turns every InputError into a usage error (exit status 4).
"""

from __future__ import annotations


class YouraiError(Exception):
    """Base of all exceptions that this package raises."""


class InputError(YouraiError):
    """What was asked for cannot be done as asked."""


class OptionError(InputError):
    """A command-line flag or an ini key has an unusable value."""


class TooLittleMemoryError(OptionError):
    """So little memory is available that no budget can be detected."""


class MatrixError(InputError):
    """A matrix file is missing or is not a matrix."""


class ModelError(InputError):
    """A model cannot be found, read, or adapted as asked."""


class UnavailableError(ModelError):
    """A model, or its weights, cannot be had here and now: others may be."""


class WorkerLostError(ModelError):
    """The worker ended, or said nothing sensible, while it looked at a model."""


class DataError(InputError):
    """Training data cannot be read as mlx-lm reads it, whatever the model.

    What one model's tokenizer cannot take is a ModelError.
    """


class RecordingError(InputError):
    """A file of recorded measurements cannot be read as one."""


class CheckpointError(InputError):
    """Adapters that training cannot go on from as asked, or would overwrite."""


class BackendError(InputError):
    """MLX is missing, or has no backend for this machine."""


class OutputError(InputError):
    """A profile or journal cannot be written where it was asked for."""


class SweepFailedError(YouraiError):
    """The sweep before training found no configuration, and not for lack of memory."""


class SafetyStopError(YouraiError):
    """The guard saw too little memory left, or a worker that took too much; says which.

    `is_its_own_fault` is False where others took most of what was missing.
    """

    def __init__(self, danger: str, *, is_its_own_fault: bool) -> None:
        super().__init__(danger)
        self.is_its_own_fault = is_its_own_fault


class WorkerError(YouraiError):
    """The worker process sent something that is no message."""


class WorkerDiedError(WorkerError):
    """The worker process ended while an answer was awaited.

    `returncode` is that of `subprocess`: negative for a signal.
    """

    def __init__(self, returncode: int) -> None:
        super().__init__(f"the worker process ended with status {returncode}")
        self.returncode = returncode


class WorkerFailedError(WorkerError):
    """The engine raised in the worker: one line of the exception, and its traceback."""

    def __init__(self, text: str, traceback: str, *, loss_is_invalid: bool) -> None:
        super().__init__(text)
        self.traceback = traceback
        self.loss_is_invalid = loss_is_invalid

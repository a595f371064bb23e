"""The exceptions of this package.

The pytest layer turns every InputError into a usage error (exit status 4).
"""

from __future__ import annotations


class YouraiError(Exception):
    """Base of all exceptions that this package raises."""


class InputError(YouraiError):
    """The user's input cannot be used; the message names the remedy."""


class OptionError(InputError):
    """A command-line flag or an ini key has an unusable value."""


class TooLittleMemoryError(OptionError):
    """Too little memory is available to detect a budget."""


class MatrixError(InputError):
    """A matrix file is missing or is not a matrix."""


class RecipeError(InputError):
    """A recipe file is missing, or asks for something that cannot be honoured."""


class ModelError(InputError):
    """A model cannot be found, read, or adapted as asked."""


class UnavailableError(ModelError):
    """A model, or its weights, is not available here and now; others may be."""


class WorkerLostError(ModelError):
    """The worker ended, or broke the protocol, while it inspected a model."""


class DataError(InputError):
    """Training data cannot be read as mlx-lm reads it, whatever the model."""


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
    """Too little memory is left, or a worker took too much; the message names it.

    `is_its_own_fault` is False where others took most of what was missing.
    """

    def __init__(self, danger: str, *, is_its_own_fault: bool) -> None:
        super().__init__(danger)
        self.is_its_own_fault = is_its_own_fault


class OverdueError(YouraiError):
    """A run takes too long."""


class StepOverdueError(OverdueError):
    """No step of training ended for too long."""


class CompileOverdueError(OverdueError):
    """A step compiled for too long."""


class StopOverdueError(OverdueError):
    """The worker was asked to end training, and went on."""


class WorkerError(YouraiError):
    """The worker process cannot be started, or broke the protocol."""


class WorkerReportError(WorkerError):
    """The worker reported what cannot be: a number out of its range, or an end without steps."""


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


class GroupError(WorkerError):
    """A group of ranks could not be formed, or went on without one of them."""


class ConnectError(GroupError, InputError):
    """The ranks of a group did not come together; the message names the remedy."""


class PeerLostError(GroupError):
    """A rank ended, or was not heard any more, for another reason than memory."""


class RankDiedError(WorkerDiedError):
    """The worker of one rank of a group ended; `name` is the rank and its host, for people."""

    def __init__(self, returncode: int, name: str) -> None:
        super().__init__(returncode)
        self.name = name


class CollectiveStalledError(GroupError):
    """All ranks live, and wait for each other."""

"""The second step of planning: which configurations a model is tried in, and how it is held."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from pytest_yourai.core.config import LoraConfig, Quantization, QuantizeChoice, RowShape
from pytest_yourai.core.errors import MatrixError, ModelError, OptionError
from pytest_yourai.core.paths import matrices_folder
from pytest_yourai.core.units import GB
from pytest_yourai.machine.budget import detect_budget
from pytest_yourai.machine.environment import installed_backend
from pytest_yourai.machine.system_memory import read_system_memory
from pytest_yourai.models.resolve import Model
from pytest_yourai.plan.matrix import Matrix, read_matrix
from pytest_yourai.plan.options import Options
from pytest_yourai.store.recording import recorded_configs
from pytest_yourai.store.stored_profile import StoredProfile

LOW_MEMORY_BYTES = 10 * GB
"""Below this budget, a model gets the low-memory matrix unless the user names one."""

_LEAST_PARAMETERS = 1e9
"""Smaller models leave room for the full matrix."""


@dataclass(frozen=True)
class ConfigChoice:
    """Axes and fixed values, each from the first of flags, matrix, recording and defaults.

    `matrix` is None for a check, and for a recording that is replayed as a whole.
    """

    matrix: Matrix | None
    recording: StoredProfile | None
    quantize: QuantizeChoice
    lora_keys: tuple[str, ...] | None
    shapes: tuple[RowShape, ...]
    is_low_memory: bool = False
    """True if the low-memory matrix was chosen for the machine's sake, without being named."""
    requires_quantize: bool = True
    """False: weights that contradict `quantize` stay as they are."""
    requires_lora_keys: bool = True
    """False: a model that lacks `lora_keys` gets the usual ones."""

    def configs(self, depth: int | None) -> tuple[LoraConfig, ...]:
        """The configurations of a sweep of a model with `depth` layers, lightest first."""
        if self.matrix is not None:
            return tuple(self.matrix.configs(self.shapes, depth))
        return tuple(recorded_configs(self.recording, self.shapes)) if self.recording else ()

    def check_shape(self, *, is_before_sweep: bool) -> RowShape:
        """The rows of a check: the longest, so that a pass holds for all that was asked for.

        Before a sweep, which tries the others, the shortest.
        """
        lengths = [shape.max_seq_length for shape in self.shapes]
        length = min(lengths) if is_before_sweep else max(lengths)
        return RowShape(length, all(shape.grad_checkpoint for shape in self.shapes))

    def quantization(self, model: Model) -> Quantization | None:
        """Quantization of the base model; ModelError if its weights contradict the choice."""
        try:
            return model.quantization(self.quantize)
        except ModelError:
            if self.requires_quantize:
                raise
            return model.quantization(None)

    def notes(self, model: Model, lora_keys: tuple[str, ...]) -> Iterator[str]:
        """Lines for the console's header; `lora_keys` are those that `model` turned out to have."""
        if model.note is not None:
            yield model.note
        if self.is_low_memory:
            held = self.quantization(model) or model.foreign_quantization or "not quantized"
            has_chosen_keys = set(lora_keys) == set(self.lora_keys or ())
            keys = ", ".join(lora_keys) if has_chosen_keys else "the usual LoRA keys"
            yield (
                f"under {LOW_MEMORY_BYTES / GB:g} GB: the low-memory matrix ({held}, {keys}); "
                "--yourai-matrix or --quick choose another"
            )
        over = self.matrix.layers_over(model.depth) if self.matrix else []
        if over:
            numbers = ", ".join(map(str, over))
            yield f"{model.title} has {model.depth} layers: {numbers} became {model.depth}"
        if self.recording is not None:
            yield f"nothing is run: measurements are those of {self.recording.name}"
            if not self.recording.has_minima:
                yield f"{self.recording.name} has no minimum memory: its peaks stand in for it"


def choose_configs(
    model: Model, options: Options, recording: StoredProfile | None = None
) -> ConfigChoice:
    """The choice for a sweep of `model`, or for a check, which has a matrix before a sweep alone.

    MatrixError if two matrices are named, or if the one that is named cannot be read.
    """
    matrix, is_low_memory = _choose_matrix(model, options)
    quantize, keys = options.quantize, options.lora_keys
    lengths = options.max_seq_lengths
    checkpoints: tuple[bool, ...] | None = None
    if options.grad_checkpoint is not None:
        checkpoints = (options.grad_checkpoint,)
    if matrix is not None:
        quantize = matrix.quantize if quantize is None else quantize
        keys = keys or matrix.lora_keys
        lengths = lengths or matrix.max_seq_length
        checkpoints = checkpoints or matrix.grad_checkpoint
    if recording is not None:
        quantize = recording.settings.quantization if quantize is None else quantize
        keys = keys or recording.settings.lora_keys
        lengths = lengths or recording.measured_lengths
        checkpoints = checkpoints or recording.measured_checkpointing
    return ConfigChoice(
        matrix=matrix,
        recording=recording,
        quantize=quantize,
        lora_keys=keys,
        shapes=tuple(
            RowShape(length, grad_checkpoint)
            for length in lengths or (model.default_max_seq_length,)
            for grad_checkpoint in checkpoints or (False,)
        ),
        is_low_memory=is_low_memory,
        requires_quantize=not is_low_memory or options.quantize is not None,
        requires_lora_keys=not is_low_memory or options.lora_keys is not None,
    )


def _choose_matrix(model: Model, options: Options) -> tuple[Matrix | None, bool]:
    """The matrix, and True if it is the low-memory one because of the machine."""
    if not options.sweeps_models:
        return None, False
    if options.matrix is not None:
        if options.quick:
            raise MatrixError("--quick and --yourai-matrix both name a matrix: leave one out")
        return read_matrix(options.matrix), False
    if options.quick:
        return _packaged((model.preset and model.preset.defaults.quick_matrix) or "quick"), False
    if options.replay is not None:
        return None, False
    is_large = (model.parameters or 0) >= _LEAST_PARAMETERS
    if is_large and _has_low_memory(options.memory_limit_bytes):
        return low_memory_matrix(), True
    return _packaged("full"), False


def low_memory_matrix() -> Matrix:
    """The packaged matrix for machines with little memory."""
    return _packaged("low-memory")


def _packaged(name: str) -> Matrix:
    return read_matrix(matrices_folder() / f"{name}.yaml")


def _has_low_memory(limit_bytes: int | None) -> bool:
    """True for a small budget: the user's, else this machine's; False on a GPU, not known yet."""
    if limit_bytes is not None:
        return limit_bytes < LOW_MEMORY_BYTES
    if installed_backend() == "cuda":
        return False
    try:
        return detect_budget(read_system_memory(), None).limit_bytes < LOW_MEMORY_BYTES
    except OptionError:
        # No memory is available at this moment: the sweep says so itself.
        return True

"""Which matrix a sweep runs: the one that was named, or the packaged one that suits the machine."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytest_yourai.engine.protocol import ModelSource
from pytest_yourai.errors import MatrixError, ModelError, OptionError
from pytest_yourai.matrix import Matrix, read_matrix
from pytest_yourai.memory.budget import detect_budget
from pytest_yourai.memory.system import read_system_memory
from pytest_yourai.models import Model
from pytest_yourai.paths import matrices_folder
from pytest_yourai.store.environment import installed_backend

if TYPE_CHECKING:
    from pytest_yourai.options import Options

_GB = 1_000_000_000

LITTLE_MEMORY_BYTES = 10 * _GB
"""A smaller budget, where nobody names a matrix, gets the one for machines with little memory."""

_LEAST_PARAMETERS = 1e9
"""Smaller models leave room for the full matrix."""

TYPES_WITH_Q_PROJ = (
    "cohere",
    "cohere2",
    "ernie4_5",
    "exaone4",
    "gemma",
    "gemma2",
    "gemma3_text",
    "glm",
    "glm4",
    "granite",
    "helium",
    "hunyuan_v1_dense",
    "internlm3",
    "llama",
    "mimo",
    "minicpm",
    "ministral3",
    "mistral",
    "nemotron",
    "olmo2",
    "olmo3",
    "phi",
    "qwen2",
    "qwen3",
    "stablelm",
    "starcoder2",
)
"""Model types whose layers have a self_attn.q_proj in mlx-lm; others may name it differently."""


@dataclass(frozen=True)
class MatrixChoice:
    """`matrix` is None for a recording that is replayed as a whole."""

    matrix: Matrix | None
    is_for_little_memory: bool = False
    """Whether it was chosen for the machine's sake, without being named."""

    def again(self, model: Model) -> MatrixChoice:
        """The same choice once the weights are here, whatever memory is available by then."""
        if not self.is_for_little_memory:
            return self
        return MatrixChoice(low_memory_matrix(model), is_for_little_memory=True)

    def note(self, source: ModelSource, model: Model) -> str | None:
        """The line that says so, with what `source` came to."""
        if not self.is_for_little_memory:
            return None
        how = source.quantization or model.foreign_quantization or "not quantized"
        keys = ", ".join(source.lora_keys) if source.lora_keys else "the usual LoRA keys"
        return (
            f"under {LITTLE_MEMORY_BYTES // _GB} GB: the low-memory matrix ({how}, {keys}); "
            "--yourai-matrix or --quick choose another"
        )


def choose_matrix(options: Options, model: Model) -> MatrixChoice:
    """MatrixError where two are named, or where the named one cannot be read."""
    if options.matrix is not None:
        if options.quick:
            raise MatrixError("--quick and --yourai-matrix both name a matrix: leave one out")
        return MatrixChoice(read_matrix(options.matrix))
    if options.quick:
        return MatrixChoice(_packaged((model.preset and model.preset.quick_matrix) or "quick"))
    if options.replay is not None:
        return MatrixChoice(None)
    if _is_large(model) and _has_little_memory(options):
        return MatrixChoice(low_memory_matrix(model), is_for_little_memory=True)
    return MatrixChoice(_packaged("full"))


def _packaged(name: str) -> Matrix:
    return read_matrix(matrices_folder() / f"{name}.yaml")


def _has_little_memory(options: Options) -> bool:
    """By the user's budget, else this machine's; what a GPU has of its own is not known yet."""
    if options.memory_limit_bytes is not None:
        return options.memory_limit_bytes < LITTLE_MEMORY_BYTES
    if installed_backend() == "cuda":
        return False
    try:
        return detect_budget(read_system_memory(), None).limit_bytes < LITTLE_MEMORY_BYTES
    except OptionError:
        # Nothing is left at this moment: the sweep says so itself.
        return True


def _is_large(model: Model) -> bool:
    """Whether it is known to have a billion parameters or more."""
    return (model.parameters or 0) >= _LEAST_PARAMETERS


def low_memory_matrix(model: Model) -> Matrix:
    """The packaged one, without what contradicts the model: nobody asked for it."""
    matrix = _packaged("low-memory")
    if model.architecture.get("model_type") not in TYPES_WITH_Q_PROJ:
        matrix = dataclasses.replace(matrix, lora_keys=None)
    try:
        model.quantization(matrix.quantize)
    except ModelError:
        return dataclasses.replace(matrix, quantize=None)
    return matrix

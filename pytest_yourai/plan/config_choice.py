"""The second step of planning: which configurations a model is tried in, and how it is held."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pytest_yourai.core.axes import (
    AXES,
    BATCH_SIZE,
    GRAD_ACCUMULATION_STEPS,
    GRAD_CHECKPOINT,
    LORA_KEYS,
    MAX_SEQ_LENGTH,
    NUM_LAYERS,
    SIZES,
    VARIANTS,
)
from pytest_yourai.core.config import (
    DEFAULT_MAX_SEQ_LENGTH,
    LoraConfig,
    Quantization,
    QuantizeChoice,
    key_names,
)
from pytest_yourai.core.errors import MatrixError, ModelError, OptionError
from pytest_yourai.core.paths import matrices_folder
from pytest_yourai.core.recipe import MLX_LM_CONFIG, Recipe
from pytest_yourai.core.units import GB
from pytest_yourai.machine.budget import detect_budget
from pytest_yourai.machine.environment import installed_backend
from pytest_yourai.machine.system_memory import read_system_memory
from pytest_yourai.models.model import Model
from pytest_yourai.plan.matrix import (
    AxisValues,
    Matrix,
    combinations,
    dividing,
    layers_of,
    layers_over,
    read_matrix,
)
from pytest_yourai.plan.options import Options
from pytest_yourai.plan.safe_table import SAFE_KEYS
from pytest_yourai.store.recording import recorded_configs
from pytest_yourai.store.stored_profile import StoredProfile

LOW_MEMORY_BYTES = 10 * GB
"""Below this budget, a model gets the low-memory matrix unless the user names one."""

_LEAST_PARAMETERS = 1e9
"""Smaller models leave room for the full matrix."""


Origin = Literal["flag", "matrix", "recipe", "profile", "preset", "default"]


@dataclass(frozen=True)
class ConfigChoice:
    """Axes and fixed values, each from the first of flags, matrix, recipe, preset and defaults.

    `matrix` is None for a check, for a recording that is replayed as a whole, and where a recipe
    and flags say everything. `axes` has the values of all axes; without batch, rank and layers for
    a check, and only what flags ask for in a replay.
    """

    matrix: Matrix | None
    recording: StoredProfile | None
    quantize: QuantizeChoice
    axes: AxisValues
    origins: Mapping[str, Origin]
    """Where the values of each axis come from."""
    recipe: Recipe
    effective_batch_size: int | None = None
    is_low_memory: bool = False
    """True if the low-memory matrix was chosen for the machine's sake, without being named."""
    requires_quantize: bool = True
    """False: weights that contradict `quantize` stay as they are."""
    requires_lora_keys: bool = True
    """False: a model that lacks the keys of the matrix gets the usual ones."""

    def configs(self, depth: int | None) -> tuple[LoraConfig, ...]:
        """The configurations of a sweep of a model with `depth` layers, lightest first.

        None for a check.
        """
        if self.recording is not None and self.matrix is None:
            return tuple(recorded_configs(self.recording, self.axes))
        if not all(axis.name in self.axes for axis in SIZES):
            return ()
        return tuple(combinations(self.axes, depth, self.matrix, self.effective_batch_size))

    @property
    def lora_keys(self) -> tuple[str, ...]:
        """Choices of modules that get adapters."""
        return self.axes.get(LORA_KEYS.name) or (SAFE_KEYS,)

    @property
    def fixed_sizes(self) -> tuple[str, ...]:
        """Those of batch size, rank and layers that flags choose, which no check may change."""
        return tuple(axis.name for axis in SIZES if self.origins.get(axis.name) == "flag")

    def checked(self, model: Model, *, is_before_sweep: bool) -> LoraConfig:
        """What a check tries: of what flags name the largest, for a pass to hold for all.

        Before a sweep, which tries the others, the smallest; so it is with rows. What is open is
        of the smallest size.
        """
        length = min if is_before_sweep else max
        usual = LoraConfig(1, 1, 1, model.default_max_seq_length, lora_keys=SAFE_KEYS)
        chosen = {axis.name: self.axes[axis.name][0] for axis in VARIANTS if axis.name in self.axes}
        if lengths := self.axes.get(MAX_SEQ_LENGTH.name):
            chosen[MAX_SEQ_LENGTH.name] = length(lengths)
        chosen |= {name: length(self._sizes(name, model)) for name in self.fixed_sizes}
        chosen[GRAD_CHECKPOINT.name] = all(self.axes.get(GRAD_CHECKPOINT.name, (False,)))
        return dataclasses.replace(usual, **chosen)

    def _sizes(self, name: str, model: Model) -> list[int]:
        """The values that are asked for, of an axis of sizes."""
        if name == NUM_LAYERS.name:
            named = "the command line"
            return [layers_of(each, model.depth, named) for each in self.axes[name]]
        rows = self.effective_batch_size
        if name == BATCH_SIZE.name and rows is not None:
            return [each for each in self.axes[name] if rows % each == 0] or [1]
        return list(self.axes[name])

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
            has_chosen_keys = set(lora_keys) == {
                name for choice in self.lora_keys for name in key_names(choice) or ()
            }
            keys = ", ".join(lora_keys) if has_chosen_keys else "the usual LoRA keys"
            yield (
                f"under {LOW_MEMORY_BYTES / GB:g} GB: the low-memory matrix ({held}, {keys}); "
                "--yourai-matrix or --quick choose another"
            )
        if over := layers_over(self.axes, model.depth):
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
    is_replay = recording is not None and matrix is None
    quantize = options.quantize
    if matrix is not None and quantize is None:
        quantize = matrix.quantize
    if recording is not None and quantize is None:
        quantize = recording.settings.quantization
    if is_replay:
        axes: AxisValues = options.axes
        origins: dict[str, Origin] = dict.fromkeys(axes, "flag")
    else:
        axes, origins = _axes(model, options, matrix, recording)
    effective = options.effective_batch_size
    if effective is None and GRAD_ACCUMULATION_STEPS.name not in options.axes and matrix:
        effective = matrix.effective_batch_size
    if effective is not None and origins.get(BATCH_SIZE.name) == "matrix" and _is_packaged(matrix):
        # Nobody asked for the others.
        axes = {**axes, BATCH_SIZE.name: dividing(axes[BATCH_SIZE.name], effective)}
    return ConfigChoice(
        matrix=matrix,
        recording=recording,
        quantize=quantize,
        axes=axes,
        origins=origins,
        recipe=options.recipe,
        effective_batch_size=effective,
        is_low_memory=is_low_memory,
        requires_quantize=not is_low_memory or options.quantize is not None,
        requires_lora_keys=_are_keys_asked_for(matrix, origins),
    )


def _is_packaged(matrix: Matrix | None) -> bool:
    return matrix is not None and matrix.source.parent == matrices_folder()


def _are_keys_asked_for(matrix: Matrix | None, origins: Mapping[str, Origin]) -> bool:
    """False where a packaged matrix, or nothing at all, says which modules get adapters."""
    match origins.get(LORA_KEYS.name):
        case "matrix":
            return not _is_packaged(matrix)
        case origin:
            return origin in {"flag", "recipe", "profile"}


def _axes(
    model: Model, options: Options, matrix: Matrix | None, recording: StoredProfile | None
) -> tuple[AxisValues, dict[str, Origin]]:
    """The values of each axis, and where they come from.

    A packaged matrix that was not chosen for its one value of an axis does not override a recipe.
    """
    file = options.recipe_file
    packaged = _is_packaged(matrix)
    own = {} if matrix is None else matrix.axes
    weak = {name for name in own if packaged and file is not None and len(own[name]) == 1}
    preset = model.preset and model.preset.defaults.max_seq_length
    sources: list[tuple[Origin, AxisValues]] = [
        ("flag", options.axes),
        ("matrix", {name: values for name, values in own.items() if name not in weak}),
        ("recipe", {} if file is None else file.axes),
        ("matrix", own),
        ("profile", _recorded(recording)),
        ("preset", {MAX_SEQ_LENGTH.name: (preset,)} if preset else {}),
        ("default", _defaults(options, matrix)),
    ]
    axes: dict[str, tuple[Any, ...]] = {}
    origins: dict[str, Origin] = {}
    for axis in AXES:
        for origin, values in sources:
            if axis.name in values:
                axes[axis.name], origins[axis.name] = values[axis.name], origin
                break
    return axes, origins


def _recorded(recording: StoredProfile | None) -> AxisValues:
    if recording is None:
        return {}
    return {axis.name: recording.measured_values(axis) for axis in VARIANTS}


def _defaults(options: Options, matrix: Matrix | None) -> AxisValues:
    """mlx-lm's own where there is a recipe, as its command has them; else those of this plugin."""
    has_recipe = options.recipe_file is not None
    default = MLX_LM_CONFIG
    if not has_recipe:
        default = dataclasses.replace(default, max_seq_length=DEFAULT_MAX_SEQ_LENGTH)
    found = {axis.name: (axis.of(default),) for axis in AXES if has_recipe or axis in VARIANTS}
    if not has_recipe and matrix is None:
        found[LORA_KEYS.name] = (SAFE_KEYS,)
    return found


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
    if options.replay is not None or options.recipe_file is not None:
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

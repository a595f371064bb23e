"""The trained arrays of a recipe's `resume_adapter_file`, as far as they are those of the model."""

from __future__ import annotations

import mlx.core as mx
from mlx import nn
from mlx.utils import tree_flatten

from pytest_yourai.core.errors import ModelError, RecipeError


def resumed_arrays(path: str, adapted: nn.Module) -> dict[str, mx.array]:
    """The arrays in `path` that the adapted model has, too; mlx-lm passes over the others.

    Not read yet. RecipeError where the file cannot be read, ModelError where none of its arrays is
    one of the model, or one has another shape there.
    """
    there = dict(tree_flatten(adapted.parameters()))
    found = {name: array for name, array in read_arrays(path).items() if name in there}
    if not found:
        raise ModelError(
            f"resume_adapter_file: no array in {path} belongs to what this recipe trains: check "
            "its fine_tune_type, num_layers, lora_parameters and model"
        )
    for name, array in found.items():
        if array.shape != there[name].shape:
            raise ModelError(
                f"resume_adapter_file: {name} in {path} has the shape {list(array.shape)}, but "
                f"{list(there[name].shape)} in what is trained: use the rank and model of the file"
            )
    return found


def read_arrays(path: str) -> dict[str, mx.array]:
    """All arrays in a file, none of them read yet; RecipeError where it has none to read."""
    try:
        arrays = mx.load(path)
    except (RuntimeError, ValueError) as problem:
        raise RecipeError(
            f"resume_adapter_file: {path} cannot be read: {problem}; name adapters in safetensors"
        ) from None
    if not isinstance(arrays, dict):
        raise RecipeError(f"resume_adapter_file: {path} is not a file of adapters: name another")
    return arrays

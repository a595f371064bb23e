"""The arrays that a recipe trains, and the state that its optimizer keeps for them. Bytes."""

from __future__ import annotations

from dataclasses import dataclass

from pytest_yourai.estimate.recipe import Recipe
from pytest_yourai.models.architecture import Architecture, InspectedShapes

_ADAPTER_BYTES = 4
"""Adapters are float32 whatever the model is (mlx_lm/tuner/lora.py, dora.py)."""

_STATE_ARRAYS = {"adam": 2, "adamw": 2, "muon": 1, "sgd": 1, "adafactor": 0}
"""Arrays of a parameter's size that each of mlx's optimizers keeps; sgd's also without momentum."""


@dataclass(frozen=True, slots=True)
class TrainedArrays:
    """Their number and sizes in elements, those of the last `layers` layers together.

    `factors` counts the rows and columns of each matrix and the elements of each vector, for which
    adafactor keeps one number each.
    """

    layers: int
    matrices: int
    parameters: int
    factors: int
    element_bytes: int

    @property
    def held_bytes(self) -> int:
        """Bytes of the arrays themselves, and of their gradients."""
        return self.parameters * self.element_bytes

    def state_bytes(self, recipe: Recipe) -> int:
        """What the optimizer keeps, in the type of the trained arrays."""
        arrays = _STATE_ARRAYS[recipe.optimizer] + recipe.has_first_moment
        factors = self.factors if recipe.optimizer == "adafactor" else 0
        return (arrays * self.parameters + factors) * self.element_bytes


def adapter_arrays(built: InspectedShapes, layers: int, rank: int, recipe: Recipe) -> TrainedArrays:
    """Adapters of the last `layers` layers: matrices A and B, and DoRA's vector of magnitudes."""
    sides = sum(built.adapter_parameters_per_rank[-layers:])
    copies = sum(linear.copies for linear in built.linears)
    magnitudes = 0
    if recipe.fine_tune_type == "dora":
        magnitudes = layers * sum(linear.outputs for linear in built.linears)
    return TrainedArrays(
        layers=layers,
        matrices=2 * layers * len(built.linears),
        parameters=rank * sides + magnitudes,
        factors=sides + 2 * rank * copies * layers + magnitudes,
        element_bytes=_ADAPTER_BYTES,
    )


def base_arrays(shapes: Architecture, layers: int) -> TrainedArrays:
    """Weights, biases and norms of the last `layers` layers, in the model's own type."""
    vectors = shapes.vector_parameters_per_layer
    sides = sum(linear.parameters_per_rank for linear in shapes.linears)
    return TrainedArrays(
        layers=layers,
        matrices=layers * len(shapes.linears),
        parameters=layers * (shapes.matrix_parameters_per_layer + vectors),
        factors=layers * (sides + vectors),
        element_bytes=shapes.element_bytes,
    )

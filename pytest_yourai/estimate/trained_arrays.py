"""The arrays that a recipe trains, and the state that its optimizer keeps for them. Bytes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pytest_yourai.core.config import FineTuneType, LoraConfig, Optimizer
from pytest_yourai.models.architecture import Architecture, InspectedShapes
from pytest_yourai.models.layer_shapes import LayerShapes

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
    is_base: bool = False
    """True for full fine-tuning."""

    @property
    def held_bytes(self) -> int:
        """Bytes of the arrays themselves, and of their gradients."""
        return self.parameters * self.element_bytes

    def state_bytes(self, optimizer: Optimizer, *, has_first_moment: bool = False) -> int:
        """What the optimizer keeps, in the type of the trained arrays.

        Adafactor has a first moment where it has `beta_1`; no other setting moves memory.
        """
        arrays = _STATE_ARRAYS[optimizer] + has_first_moment
        factors = self.factors if optimizer is Optimizer.ADAFACTOR else 0
        return (arrays * self.parameters + factors) * self.element_bytes


def adapter_arrays(built: InspectedShapes, config: LoraConfig) -> TrainedArrays:
    """Adapters of `config`: matrices A and B, and DoRA's vector of magnitudes."""
    layers, rank = config.num_layers, config.rank
    sides = sum(built.adapter_parameters_per_rank[-layers:])
    copies = sum(linear.copies for linear in built.linears)
    magnitudes = 0
    if config.fine_tune_type is FineTuneType.DORA:
        of_layers = built.adapted_outputs[-layers:]
        usual = layers * sum(linear.outputs for linear in built.linears)
        magnitudes = sum(of_layers) if of_layers else usual
    return TrainedArrays(
        layers=layers,
        matrices=2 * layers * len(built.linears),
        parameters=rank * sides + magnitudes,
        factors=sides + 2 * rank * copies * layers + magnitudes,
        element_bytes=_ADAPTER_BYTES,
    )


def base_arrays(built: InspectedShapes, shapes: Architecture, layers: int) -> TrainedArrays:
    """Weights, biases and norms of the last `layers` layers, in the model's own type."""
    if trained := built.layers[-layers:]:
        parameters = sum(each.parameters for each in trained)
        return TrainedArrays(
            layers=layers,
            matrices=sum(each.matrices for each in trained),
            parameters=parameters,
            factors=sum(each.factors for each in trained),
            element_bytes=round(sum(each.held_bytes for each in trained) / parameters),
            is_base=True,
        )
    kinds = shapes.layers[-layers:]
    linears = [linear for kind in kinds for linear in kind.linears]
    vectors = sum(kind.vectors for kind in kinds)
    return TrainedArrays(
        layers=layers,
        matrices=len(linears),
        parameters=sum(kind.parameters for kind in kinds),
        factors=sum(linear.parameters_per_rank for linear in linears) + vectors,
        element_bytes=shapes.element_bytes,
        is_base=True,
    )


def largest_matrix_bytes(trained: TrainedArrays, layers: Sequence[LayerShapes]) -> float:
    """Of a matrix of `layers`, in the one where they are largest on average."""
    mean = trained.held_bytes / max(trained.matrices, 1)
    if not trained.is_base:
        return mean
    sizes = [(each.parameters, len(each.linears)) for each in layers]
    means = [parameters / max(count, 1) for parameters, count in sizes]
    parameters, count = map(sum, zip(*sizes, strict=True))
    return mean * max(means) * max(count, 1) / parameters

"""Empirical coefficients of `step_memory`, and the sizes of MLX's batches of work.

They were fitted to minimum memory measured by tests/performance/floors.py with MLX 0.32.4 and
mlx-lm 0.32.2: CUDA's on one H200, with qwen2-0.5b, llama-1b, hermes-mistral-7b, llama-8b and
r1-distill-14b, at all lengths but 512; the CPU's on Linux, with small float32 models.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass

from pytest_yourai.core.device import Backend


@dataclass(frozen=True, slots=True)
class Coefficients:
    """Memory alive at the highest moment, as multiples of the arrays that the fields name.

    `gradients` is in bytes per adapter parameter; `scores` and `layer` count the arrays of one
    layer in its backward pass, without and with checkpointing.
    """

    gradients: float
    logits: float
    scores: float
    layer: float
    checkpointed_layer: float
    checkpointed_scores: float
    checkpointed_logits: float


_ON_CUDA = Coefficients(
    gradients=0.45,
    logits=1.46,
    scores=1.47,
    layer=0.0,
    checkpointed_layer=2.01,
    checkpointed_scores=4.55,
    checkpointed_logits=0.0,
)

ON_THE_CPU = Coefficients(
    gradients=1.4,
    logits=3.03,
    scores=0.81,
    layer=0.36,
    checkpointed_layer=0.51,
    checkpointed_scores=0.99,
    checkpointed_logits=1.71,
)

_ON_METAL = dataclasses.replace(ON_THE_CPU, checkpointed_logits=1.0)
"""What large operations leave, each of which is a batch of its own there: the CPU's, but of the
logits only those that the loss still needs. Taken from the followed step of Qwen3-8B."""

BY_BACKEND: Mapping[Backend, Coefficients] = {
    "cuda": _ON_CUDA,
    "metal": _ON_METAL,
    "cpu": ON_THE_CPU,
}


@dataclass(frozen=True, slots=True)
class Flight:
    """Memory in flight on a Hopper GPU, as multiples of arrays, and its upper limits in elements.

    At the loss: multiples of the logits, of a residual and an inner vector for each token, and of
    the adapters' float32 outputs. In the backward pass: of the logits, and of what a layer keeps.
    """

    loss_logits: float = 0.50
    loss_vectors: float = 11.6
    loss_adapted: float = 2.57
    loss_elements: float = 245e6
    backward_logits: float = 2.06
    backward_layer: float = 1.34
    backward_elements: float = 577e6
    checkpointed_elements: float = 460e6


HOPPER_FLIGHT = Flight()


@dataclass(frozen=True, slots=True)
class OptimizerFlight:
    """Arrays that live while an optimizer runs, counted in trained matrices of mean size.

    They are so many `matrices` that it works at, with those that `wait`, a share of all; at most
    `most` for each trained matrix. Fitted on the CPU: on a GPU another moment was always higher.
    """

    matrices: float
    wait: float
    most: float

    def alive(self, trained: int) -> float:
        """How many live, of so many trained matrices."""
        return min(self.matrices + self.wait * trained, self.most * trained)


OPTIMIZER_FLIGHTS = {
    "adam": OptimizerFlight(matrices=32, wait=0.0, most=2.3),
    "adamw": OptimizerFlight(matrices=32, wait=0.0, most=2.3),
    "muon": OptimizerFlight(matrices=26, wait=0.98, most=2.9),
    "sgd": OptimizerFlight(matrices=18, wait=0.0, most=1.0),
    "adafactor": OptimizerFlight(matrices=17, wait=0.95, most=3.0),
}


@dataclass(frozen=True, slots=True)
class Batches:
    """Most work that MLX submits to the device at once: operations, and elements that they read.

    Source: MLX's source (0.32.4): mlx/backend/cuda/device.cpp, mlx/backend/metal/device.cpp.
    """

    operations: int
    elements: int
    counts_outputs: bool = False
    """True where elements that they write count, too."""


_MIB = 1 << 20

HOPPER = Batches(100, 1000 * _MIB)

AMPERE = Batches(20, 400 * _MIB)

OTHER_CUDA = Batches(20, 100 * _MIB)

METAL = Batches(40, 40 * _MIB, counts_outputs=True)
"""Base and Pro chips, and others that MLX does not know."""

LARGE_METAL = Batches(50, 50 * _MIB, counts_outputs=True)

LARGE_METAL_NAMES = ("Max", "Ultra")

HOPPER_NAMES = ("H100", "H200", "H20", "GH200", "B100", "B200", "B300", "RTX 50", "RTX PRO")

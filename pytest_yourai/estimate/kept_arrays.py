"""Arrays of transformer layers that a training step keeps for its backward pass. Bytes.

They follow from what mlx-lm 0.32 trains. What a layer's own computation keeps is in
`models/layer_blocks`; of the first layer with adapters only what comes after its first adapter.
Beyond that the backward pass needs

- with adapters, which are float32 whatever the model is: a float32 copy of what adapted layers
  read, shared by those that read the same, and each adapter's inner product;
- with dropout: instead of that copy the input itself, and for each adapted layer its dropped copy
  in float32 and its mask, a byte an element;
- with DoRA: what each adapted layer gives before it is scaled to its magnitude, and where the model
  is quantized the layer's dequantized weights;
- with full fine-tuning: what every linear layer reads, and the whole of the first layer.

All this was derived, and the measurements agree.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from pytest_yourai.core.config import FineTuneType, LoraConfig
from pytest_yourai.core.device import Backend
from pytest_yourai.models.layer_blocks import CHUNK_ARRAYS, CHUNK_POSITIONS
from pytest_yourai.models.layer_shapes import Attention, LayerShapes, LinearShape, Stage

_FLOAT32_BYTES = 4

_MASK_BYTES = 1

_FUSED_ATTENTION_ROWS = 128
"""MLX's fused backward attention takes whole multiples of this length (mlx/backend/cuda)."""

_LARGEST_FUSED_HEAD = 128

_OPERATIONS_BETWEEN = 8
"""Two norms, rotated queries and keys, attention, the MLP's activation, two residuals."""

_OPERATIONS_OF_AN_ADAPTER = 3
"""Two products, and what adds them, beside the copy of the input."""

_JOINED_ARRAYS = 3
"""Chosen by the rows of gpt-oss-20b in tests/data/models_h200.json."""


@dataclass(frozen=True)
class KeptArrays:
    """Arrays of one layer in a step of `config`; linear layers whose paths are `keys` are adapted.

    `element_bytes` is the size of an element in the model's own type.
    """

    layer: LayerShapes
    keys: frozenset[str]
    config: LoraConfig
    element_bytes: int
    is_quantized: bool
    backend: Backend

    @cached_property
    def tokens(self) -> int:
        """Positions in a batch: a row of S tokens feeds S - 1 of them."""
        return self.config.batch_size * (self.config.max_seq_length - 1)

    def vector_bytes(self, size: int) -> int:
        """Bytes of one vector of `size` for each token, in the model's own type."""
        return self.tokens * size * self.element_bytes

    @cached_property
    def adapted(self) -> tuple[LinearShape, ...]:
        """The layer's linear layers that have adapters."""
        return tuple(each for each in self.layer.linears if each.key in self.keys)

    @cached_property
    def layer_bytes(self) -> int:
        """Bytes kept from a layer that is not the first with adapters."""
        return sum(self._stage_bytes) + self._trained_bytes

    @cached_property
    def _stage_bytes(self) -> tuple[int, ...]:
        """What the layer's own computation keeps, by stage."""
        return tuple(map(self._own_bytes, self.layer.stages))

    @cached_property
    def first_layer_bytes(self) -> int:
        """Bytes kept from the first trained layer: nothing before its first trained part."""
        if self._is_full:
            return self.layer_bytes
        return sum(self._stage_bytes[self._first_trained :]) + self._trained_bytes

    @property
    def _first_trained(self) -> int:
        """The place of the first stage with a trained part; after the last one without any."""
        stages = self.layer.stages
        return stages.index(self._read[0][0]) if self._read else len(stages)

    @property
    def reaches_its_loop(self) -> bool:
        """True if the loop over positions runs backward even in the first trained layer."""
        return any(stage.sliced for stage in self.layer.stages[self._first_trained :])

    @cached_property
    def after_attention_bytes(self) -> int:
        """Bytes kept from what comes after attention and its output, first in the backward pass."""
        stages = self.layer.stages
        place = next((index for index, each in enumerate(stages) if each.attention), len(stages))
        after = stages[place + 2 :]
        kept = sum(self._stage_bytes[place + 2 :])
        return kept + sum(self._copied_bytes(*each) for each in self._read if each[0] in after)

    @cached_property
    def before_attention_bytes(self) -> int:
        """Bytes kept from the rest of the layer, but for attention's scores and DoRA's weights."""
        rest = self.after_attention_bytes + self.kept_scores_bytes + self.weights_bytes
        return self.layer_bytes - rest

    @cached_property
    def forward_bytes(self) -> int:
        """Bytes of all that the layer makes in its forward pass."""
        made = [
            stage.rows * (stage.inputs + sum(linear.outputs for linear in stage.linears))
            for stage in self.layer.stages
        ]
        if own := self.layer.attention:
            made.append(own.queries + own.key_heads * own.head_dim + own.gaps)
        return self.vector_bytes(sum(made)) + self.wide_bytes + self.outputs_bytes

    @property
    def forward_operations(self) -> int:
        """Operations of that pass: of linear layers, of adapters, and of what is between them."""
        copies = sum(len(linears) if self.config.dropout else 1 for _, linears in self._read)
        adapters = copies + _OPERATIONS_OF_AN_ADAPTER * len(self.adapted)
        return len(self.layer.linears) + _OPERATIONS_BETWEEN + adapters

    @cached_property
    def wide_bytes(self) -> int:
        """Float32 copies of what adapted layers read."""
        return sum(self._copied_bytes(*each) for each in self._read)

    def _copied_bytes(self, stage: Stage, linears: tuple[LinearShape, ...]) -> int:
        """Float32 copies of what the adapted linear layers of a stage read."""
        copies = 0 if self._is_full else len(linears) if self.config.dropout else 1
        return _FLOAT32_BYTES * self.tokens * stage.rows * stage.inputs * copies

    @cached_property
    def weights_bytes(self) -> int:
        """Dequantized weights of a layer, of which DoRA takes the norms."""
        if not (self._is_dora and self.is_quantized):
            return 0
        return sum(linear.parameters for linear in self.adapted) * self.element_bytes

    @cached_property
    def outputs_bytes(self) -> int:
        """What the adapters of the layer give, in float32."""
        if self._is_full:
            return 0
        outputs = [
            stage.rows * linear.outputs for stage, linears in self._read for linear in linears
        ]
        return _FLOAT32_BYTES * self.tokens * sum(outputs)

    @cached_property
    def scores_bytes(self) -> int:
        """Attention scores of the layer, if its backward pass makes them."""
        own = self.layer.attention
        return 0 if own is None or self._has_fused_backward(own) else self._all_scores_bytes(own)

    @cached_property
    def joined_scores_bytes(self) -> int:
        """Scores of the layer joined with sinks, in its backward pass: they, softmax, gradient."""
        own = self.layer.attention
        has_sinks = own is not None and own.has_sinks
        return _JOINED_ARRAYS * self._all_scores_bytes(own) if own and has_sinks else 0

    @cached_property
    def kept_scores_bytes(self) -> int:
        """Softmax of the layer's scores, and soft caps, if they are kept from the forward pass."""
        own = self.layer.attention
        if own is None or self._has_fused_forward(own):
            return 0
        return own.scores * self._all_scores_bytes(own)

    @cached_property
    def states_bytes(self) -> int:
        """States of a loop over positions, which its backward pass frees one by one."""
        return _FLOAT32_BYTES * self.tokens * sum(stage.states for stage in self.layer.stages)

    @cached_property
    def sliced_bytes(self) -> int:
        """Gradients of the slices that such a loop reads, at the end of its backward pass."""
        sliced = sum(stage.sliced for stage in self.layer.stages)
        return self.vector_bytes(sliced) * self._positions

    @property
    def _is_full(self) -> bool:
        return self.config.fine_tune_type is FineTuneType.FULL

    @property
    def _is_dora(self) -> bool:
        return self.config.fine_tune_type is FineTuneType.DORA

    @property
    def _positions(self) -> int:
        return self.config.max_seq_length - 1

    def _has_fused_backward(self, own: Attention) -> bool:
        """True if CUDA's attention is fused in both directions."""
        can_fuse = self._has_fused_forward(own) and not own.has_sinks
        return can_fuse and self._positions % _FUSED_ATTENTION_ROWS == 0

    def _has_fused_forward(self, own: Attention) -> bool:
        widest = max(own.head_dim, own.value_dim)
        fits = own.can_fuse and widest <= _LARGEST_FUSED_HEAD and own.head_dim % 8 == 0
        return self.backend == "cuda" and fits and self.element_bytes != _FLOAT32_BYTES

    def _all_scores_bytes(self, own: Attention) -> int:
        return self.vector_bytes(own.heads * self._positions)

    def _own_bytes(self, stage: Stage) -> int:
        """What the layer's own computation keeps after the linear layers of a stage."""
        kept = self.vector_bytes(stage.rows * stage.kept)
        chunk = min(self._positions, CHUNK_POSITIONS)
        wide = stage.rows * stage.kept_wide + CHUNK_ARRAYS * stage.chunk_heads * chunk
        kept += _FLOAT32_BYTES * self.tokens * wide
        if (own := stage.attention) is None:
            return kept
        outputs = self._has_fused_backward(own) * own.outputs
        gaps = own.gaps if self.backend == "cuda" else 0
        return kept + self.vector_bytes(own.elements + gaps + outputs) + self.kept_scores_bytes

    @cached_property
    def _read(self) -> tuple[tuple[Stage, tuple[LinearShape, ...]], ...]:
        """Stages with linear layers that are trained, or have adapters, and these."""
        is_full, keys = self._is_full, self.keys
        found = (
            (stage, tuple(each for each in stage.linears if is_full or each.key in keys))
            for stage in self.layer.stages
        )
        return tuple(each for each in found if each[1])

    @cached_property
    def _trained_bytes(self) -> int:
        """What is kept because linear layers or their adapters are trained."""
        own = self.vector_bytes(sum(stage.rows * stage.inputs for stage, _ in self._read))
        if self._is_full:
            return own
        products = sum(stage.rows * len(linears) for stage, linears in self._read)
        inner = _FLOAT32_BYTES * self.tokens * self.config.rank * products
        kept = inner + self.wide_bytes + self.weights_bytes
        if self.config.dropout:
            masks = [stage.rows * stage.inputs * len(linears) for stage, linears in self._read]
            kept += own + _MASK_BYTES * self.tokens * sum(masks)
        if self._is_dora:
            kept += self.vector_bytes(sum(linear.outputs for linear in self.adapted))
        return kept

"""mlx-lm's own training step, traced without evaluating anything.

`train` makes its step and gives it to `mx.compile`; here that is caught, and MLX's exporter lists
the operations of the step instead.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import mlx.core as mx
from mlx import nn
from mlx.utils import tree_flatten, tree_map, tree_map_with_path

from pytest_yourai.core.config import FineTuneType, LoraConfig
from pytest_yourai.core.recipe import Recipe
from pytest_yourai.estimate.graph_checkpoints import Seams, with_checkpoints
from pytest_yourai.estimate.graph_experts import with_sorted_experts
from pytest_yourai.estimate.profiled_step import profile_of
from pytest_yourai.estimate.step_graph import StepGraph
from pytest_yourai.models.step_profile import Holding, StepProfile, step_kind
from pytest_yourai.worker.engine.adapters import BaseModel, put_back
from pytest_yourai.worker.engine.exported_graph import read_graph
from pytest_yourai.worker.engine.loop import EndOfLoop, run_loop
from pytest_yourai.worker.engine.optimizer import make_optimizer
from pytest_yourai.worker.engine.weights import embedding_rows

_PRIMES = (11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61, 67, 71, 73, 79, 83, 89, 97)
"""For batch size and rank: as small as common ones, since some operations depend on which of two
sizes is larger."""

_MOST_S = 20.0
"""After which no further step is traced: a prediction is no reason to wait for long."""


def trace_profiles(
    model: BaseModel, configs: Iterable[LoraConfig], widths: Iterable[int], recipe: Recipe
) -> dict[str, StepProfile]:
    """The profiles of the steps of `configs` at these widths, in tokens, by `step_kind`.

    Without those that cannot be traced: trials show what is wrong with them.
    """
    found: dict[str, StepProfile] = {}
    end = time.monotonic() + _MOST_S
    for config, width in itertools.product(configs, widths):
        kind = step_kind(config, width)
        if kind in found or time.monotonic() > end:
            continue
        # Whatever a model raises that mlx-lm cannot train, and what cannot be exported.
        with contextlib.suppress(Exception):
            wide = dataclasses.replace(config, max_seq_length=width)
            found[kind] = trace_profile(model, wide, recipe)
    return found


def trace_profile(model: BaseModel, config: LoraConfig, recipe: Recipe) -> StepProfile:
    """The profile of a step of `config`, for every batch size and rank.

    Raises what MLX and mlx-lm raise of a model that they cannot train, and ValueError where MLX's
    exporter does not know an operation.
    """
    module = model.module
    batch_prime, rank_prime = _unused_primes(module, config.max_seq_length)
    config = dataclasses.replace(config, batch_size=batch_prime, rank=rank_prime)
    recipe = dataclasses.replace(recipe, resume_adapter_file=None)
    module.freeze()
    try:
        with put_back(module), model.adapted(config, recipe):
            graphs = _trace(module, config, recipe)
    finally:
        mx.random.seed(recipe.seed)
    on_cpu = mx.default_device() == mx.cpu
    return StepProfile.of(
        profile_of(graph, batch_prime, rank_prime, on_cpu=on_cpu) for graph in graphs
    )


def _unused_primes(module: nn.Module, width: int) -> tuple[int, int]:
    """Two primes that divide no size of the model, so that what grows with them shows it."""
    sizes = {size for _, array in tree_flatten(module.parameters()) for size in array.shape}
    sizes |= {width, width - 1}
    unused = [prime for prime in _PRIMES if all(size % prime for size in sizes)]
    if len(unused) < 2:  # noqa: PLR2004 - batch size and rank
        raise ValueError("the sizes of the model have too many factors")
    return unused[1], unused[0]


def _trace(module: nn.Module, config: LoraConfig, recipe: Recipe) -> list[StepGraph]:
    """The graphs of the steps that hold most: with accumulation those that have earlier sums."""
    optimizer = make_optimizer(config, recipe)
    optimizer.init(module.trainable_parameters())
    is_full = config.fine_tune_type is FineTuneType.FULL
    tracer = _Tracer(module, optimizer, is_full, config.grad_accumulation_steps > 1)
    shape = config.batch_size, config.max_seq_length
    batch = mx.zeros(shape, mx.int32), mx.zeros((config.batch_size, 2), mx.int32)
    with tracer.in_place():
        run_loop(
            module,
            optimizer,
            [],
            config,
            recipe,
            1,
            lambda **_: iter([batch]),
            None,
            lambda: None,
        )
    return tracer.graphs


class _Tracer:
    """Stands in for `mx.compile`, and for what MLX's exporter does not know.

    That is `mx.checkpoint`, and the gradient of `mx.gather_mm` for sorted tokens.
    """

    def __init__(
        self, module: nn.Module, optimizer: Any, is_full: bool, has_earlier_sums: bool
    ) -> None:
        self._module, self._optimizer = module, optimizer
        self._has_earlier_sums = has_earlier_sums
        trained = {} if is_full else module.trainable_parameters()
        self._adapters = {name for name, _ in tree_flatten(trained)}
        self._vocabulary = embedding_rows(module)
        self._seams = Seams()
        self._has_sorted_tokens = False
        self.graphs: list[StepGraph] = []

    @contextlib.contextmanager
    def in_place(self) -> Iterator[None]:
        compile_, checkpoint, gather = mx.compile, mx.checkpoint, mx.gather_mm

        def unsorted(*arrays: Any, sorted_indices: bool = False, **options: Any) -> mx.array:
            self._has_sorted_tokens |= sorted_indices
            return gather(*arrays, **options)

        def caught(function: Any, *arguments: Any, **options: Any) -> Any:
            if "inputs" not in options:
                return compile_(function, *arguments, **options)
            return lambda batch, *_: self._trace_steps(function, batch)

        mx.compile, mx.checkpoint = caught, self._between_seams  # type: ignore[assignment]
        mx.gather_mm = unsorted
        try:
            yield
        finally:
            mx.compile, mx.checkpoint, mx.gather_mm = compile_, checkpoint, gather

    def _trace_steps(self, step: Callable[..., Any], batch: Sequence[mx.array]) -> Any:
        if not self._has_earlier_sums:
            self._trace_step(step, batch, None, do_update=True)
        else:
            sums = tree_map(mx.zeros_like, self._module.trainable_parameters())
            for do_update in (False, True):
                self._trace_step(step, batch, sums, do_update=do_update)
        raise EndOfLoop

    def _trace_step(
        self, step: Callable[..., Any], batch: Sequence[mx.array], sums: Any, *, do_update: bool
    ) -> None:
        module, optimizer, self._seams = self._module, self._optimizer, Seams()
        parameters, state = module.parameters(), optimizer.state
        parts = [parameters, state, list(batch), sums or {}]
        names, arrays = zip(*tree_flatten(parts), strict=True)

        def flat(*traced: mx.array) -> list[mx.array]:
            by_name = dict(zip(names, traced, strict=True))
            own, kept, rows, earlier = tree_map_with_path(lambda name, _: by_name[name], parts)
            module.update(own)
            optimizer.state = kept
            loss, tokens, left = step(rows, earlier or None, do_update)
            new = [module.parameters(), optimizer.state]
            return [each for _, each in tree_flatten([new, loss, tokens, left or {}])]

        listed: list[dict[str, Any]] = []
        try:
            mx.export_function(listed.append, flat, *arrays)
        finally:
            module.update(parameters)
            optimizer.state = state
        holdings = [self._holding(name) for name in names]
        graph = read_graph(listed, holdings, self._vocabulary, batch[0].shape[0])
        if self._has_sorted_tokens:
            graph = with_sorted_experts(graph)
        self.graphs.append(with_checkpoints(graph, self._seams))

    def _holding(self, name: str) -> Holding:
        part, _, path = name.partition(".")
        if part == "0":
            return Holding.ADAPTERS if path in self._adapters else Holding.WEIGHTS
        return {"1": Holding.OPTIMIZER, "3": Holding.GRADIENTS}.get(part, Holding.ACTIVATIONS)

    def _between_seams(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def marked(parameters: Any, first: mx.array, *others: Any, **named: Any) -> Any:
            entry, leave = self._seams.next()
            result = function(parameters, first + mx.array(entry, first.dtype), *others, **named)
            if isinstance(result, mx.array):
                return result * mx.array(leave, result.dtype)
            head, *rest = result
            return (head * mx.array(leave, head.dtype), *rest)

        return marked

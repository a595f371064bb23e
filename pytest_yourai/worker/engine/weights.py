"""Base models for the MLX engine: inspected lazily, loaded from a folder, or synthetic."""

from __future__ import annotations

import contextlib
import gc
import glob
import io
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import mlx.core as mx
from mlx import nn
from mlx.utils import tree_flatten, tree_map_with_path
from mlx_lm.utils import get_total_parameters, load_model, quantize_model

from pytest_yourai.core.errors import ModelError
from pytest_yourai.models.config_keys import flat_config
from pytest_yourai.models.dataset_checks import shortened
from pytest_yourai.models.folder import CONFIG, missing_file, read_architecture
from pytest_yourai.models.source import Inspection, ModelSource
from pytest_yourai.worker.engine.adapted_modules import (
    matching_lora_keys,
    module_layers,
    shapes,
)
from pytest_yourai.worker.engine.synthetic_weights import fill_randomly, leave_no_zeros

_MOST_SHOWN = 5
"""Names in one line."""


def build_lazily(architecture: Mapping[str, Any]) -> nn.Module:
    """The model of a config.json mapping, nothing of it evaluated.

    ModelError where mlx-lm has no such architecture or the mapping lacks a value.
    """
    config = dict(architecture)
    model_class, args_class = _classes(config)
    try:
        return model_class(args_class.from_dict(config))
    except Exception as problem:
        raise ModelError(
            f"config.json does not describe a {config['model_type']} model as mlx-lm builds it: "
            f"{type(problem).__name__}: {problem}; fix config.json, or name another model"
        ) from problem


def _classes(config: dict[str, Any]) -> tuple[Any, Any]:
    """The classes of a model and of its arguments; ModelError where mlx-lm has none here."""
    # Private, as mlx-lm has no public function that builds a model without reading weights.
    from mlx_lm.utils import _get_classes  # noqa: PLC0415 - seen here alone

    said = io.StringIO()
    try:
        with contextlib.redirect_stdout(said):
            found: tuple[Any, Any] = _get_classes(config)
    except SystemExit:  # as a model does that lacks a package
        why = said.getvalue().strip() or "it ends Python"
        raise ModelError(
            f"config.json: model_type: mlx-lm cannot build {config['model_type']} here: "
            f"{shortened(why)}; install that, or name another model"
        ) from None
    except (ValueError, AttributeError, ImportError) as problem:
        cause = problem.__cause__
        lacking = getattr(cause, "name", None) or ""
        if isinstance(cause, ModuleNotFoundError) and not lacking.startswith("mlx_lm."):
            raise ModelError(
                f"config.json: model_type: mlx-lm needs the package {lacking} to build "
                f"{config['model_type']}: install it, or name another model"
            ) from None
        raise ModelError(
            f"config.json: model_type: mlx-lm does not know it: {problem}; update mlx-lm"
        ) from None
    return found


def embedding_rows(model: nn.Module) -> int | None:
    """The number of ids that the model can embed; None without an embedding.

    A model may have others, for positions or for layers, which are smaller.
    """
    embeddings = (nn.Embedding, nn.QuantizedEmbedding)
    modules = (module for _, module in model.named_modules() if isinstance(module, embeddings))
    return max((int(module.weight.shape[0]) for module in modules), default=None)


def inspect(source: ModelSource, built: nn.Module | None = None) -> Inspection:
    """Depth, parameter count, sizes and matching LoRA keys, without allocation.

    Only the headers of local weights are read, so that a missing file is found now. `built` is the
    model of `lazily`, where there is one.
    """
    model = lazily(source) if built is None else built
    keys = matching_lora_keys(model, source)
    return Inspection(
        num_hidden_layers=len(model.layers),
        parameters=int(get_total_parameters(model)),
        lora_keys=keys,
        sizes={choice: shapes(model, paths) for choice, paths in keys.items()},
        module_layers=module_layers(model),
        embedding_rows=embedding_rows(model),
        notes=tuple(_notes(model, source)),
    )


def load(source: ModelSource) -> nn.Module:
    """The model with its weights in memory, frozen.

    Memory never holds more beyond the finished model than one layer's full-precision weights or
    its embedding, whichever is larger.
    """
    model = lazily(source)
    # Module by module, so that the sources and temporaries of each are freed.
    for number, (_, module) in enumerate(leaf_modules(model)):
        make(module, number, source)
    mx.eval(model.parameters())
    model.freeze()
    gc.collect()
    mx.clear_cache()
    return model


def leaf_modules(model: nn.Module) -> list[tuple[str, nn.Module]]:
    """The modules without others in them, by their paths."""
    found: Any = tree_flatten(model.leaf_modules(), is_leaf=nn.Module.is_module)
    return list(found)


def make(module: nn.Module, number: int, source: ModelSource) -> None:
    """Put the weights of the leaf module of this number into memory, always the same ones."""
    if source.synthetic:
        fill_randomly(module, number)
    mx.eval(module.parameters())


def lazily(source: ModelSource) -> nn.Module:
    """The model, quantized as asked or stored, with no weight read or made yet."""
    model = _like_the_files(source) if source.synthetic else _load_lazily(source)
    if model is None:
        model = build_like_stored(source.architecture)
        leave_no_zeros(model)
    if (how := source.quantized_on_load) is not None:
        quantize_model(model, dict(source.architecture), how.group_size, how.bits, mode=how.mode)
    return model


def _like_the_files(source: ModelSource) -> nn.Module | None:
    """The model of the folder whose weights synthetic ones stand for; None without such."""
    try:
        if source.folder is None or missing_file(Path(source.folder)) is not None:
            return None
        return _load_lazily(source)
    except ModelError:
        return None


def _load_lazily(source: ModelSource) -> nn.Module:
    """The model of a folder as mlx-lm loads it; no weight is read yet."""
    if source.folder is None:
        raise ModelError(f"{source.name}: there is no folder to load weights from: name one")
    if "model_file" in source.architecture and not source.trust_remote_code:
        raise ModelError(
            f"{source.folder}/config.json: model_file: the model brings Python code of its "
            "own, which is not run: add --yourai-trust-remote-code if you trust it"
        )
    try:
        with _not_a_pattern(Path(source.folder)) as folder:
            model, _ = load_model(folder, lazy=True, trust_remote_code=source.trust_remote_code)
    except Exception as problem:
        raise ModelError(
            f"{source.folder} cannot be loaded as mlx-lm does: "
            f"{shortened(f'{type(problem).__name__}: {problem}')}; check that its config.json and "
            "weights are whole and of one model"
        ) from problem
    return model


@contextlib.contextmanager
def _not_a_pattern(folder: Path) -> Iterator[Path]:
    """`folder` under a name without the brackets that mlx-lm takes for a pattern.

    The files stay open after it, though nothing of them was read yet.
    """
    if glob.escape(str(folder)) == str(folder):
        yield folder
        return
    with tempfile.TemporaryDirectory() as name:
        link = Path(name) / "model"
        link.symlink_to(folder.absolute(), target_is_directory=True)
        yield link


def build_like_stored(config: Mapping[str, Any]) -> nn.Module:
    """The model of a config.json mapping in the types and the quantization of stored weights.

    That is how `mlx_lm.convert` stores them, and without a head of its own where that is tied.
    """
    mx.random.seed(0)
    model, dtype = build_lazily(config), _dtype(config)
    is_cast = getattr(model, "cast_predicate", lambda _: True)

    def cast(name: str, array: mx.array) -> mx.array:
        is_float = mx.issubdtype(array.dtype, mx.floating)
        return array.astype(dtype) if is_float and is_cast(name) else array

    model.update(tree_map_with_path(cast, model.parameters()))
    if flat_config(config).get("tie_word_embeddings", True):
        _drop_head(model)
    if "quantization" in config:
        _quantize_as_stored(model, config["quantization"])
    return model


def _drop_head(model: nn.Module) -> None:
    """Take a head away that the model drops itself where its weights have none."""
    arrays = dict(tree_flatten(model.parameters()))
    others = {name: array for name, array in arrays.items() if "lm_head." not in name}
    if len(others) < len(arrays) and hasattr(model, "sanitize"):
        model.sanitize(others)


def ignored_keys(model: nn.Module, config: Mapping[str, Any]) -> tuple[str, ...]:
    """The keys under `quantization` in a config.json that name no module of the model."""
    stored = config.get("quantization")
    if not isinstance(stored, Mapping):
        return ()
    modules = {path for path, _ in model.named_modules()}
    named = [key for key, value in stored.items() if isinstance(value, Mapping | bool)]
    return tuple(str(key) for key in named if key not in modules)


def _notes(model: nn.Module, source: ModelSource) -> Iterator[str]:
    # That of the folder: `source` has what its weights make of it.
    path = Path(source.folder or "") / CONFIG
    config = read_architecture(path) if path.is_file() else source.architecture
    if keys := ignored_keys(model, config):
        shown = ", ".join(keys[:_MOST_SHOWN])
        more = f" and {len(keys) - _MOST_SHOWN} more" if len(keys) > _MOST_SHOWN else ""
        yield (
            f"config.json: quantization: {shown}{more}: no module of {source.name} has that name, "
            "so that it changes nothing"
        )


def _quantize_as_stored(model: nn.Module, stored: Mapping[str, Any]) -> None:
    """Quantize as config.json asks, whose entries for single modules override its general one."""
    predicate = getattr(model, "quant_predicate", None)

    def choose(path: str, module: nn.Module) -> bool | dict[str, Any]:
        if path in stored:
            own: bool | dict[str, Any] = stored[path]
            return own
        if not hasattr(module, "to_quantized") or module.weight.shape[-1] % stored["group_size"]:
            return False
        chosen: bool | dict[str, Any] = predicate(path, module) if predicate else True
        return chosen

    nn.quantize(
        model,
        group_size=stored["group_size"],
        bits=stored["bits"],
        mode=stored.get("mode", "affine"),
        class_predicate=choose,
    )


def _dtype(architecture: Mapping[str, Any]) -> mx.Dtype:
    flat = flat_config(architecture)
    name = str(flat.get("torch_dtype") or flat.get("dtype") or "bfloat16")
    types = {"float32": mx.float32, "float16": mx.float16, "bfloat16": mx.bfloat16}
    found = types.get(name.removeprefix("torch."))
    if found is None:
        raise ModelError(
            f"config.json: torch_dtype: {name} is none of {', '.join(types)}: use one of them"
        )
    return found

"""Measures the floor, the minimum memory of training, over models, configurations and settings.

python tests/performance/floors.py cuda|cpu FILE [--seconds 500] [--only MODEL ...]

Writes JSON that `estimate.py` judges the estimate by: tests/data/floors_*.json are such files. Each
trial is three warm-up steps of the engine's own, under a memory limit at the base. The designs are
stars around a middle configuration, with single settings moved far, and random combinations.
"""

from __future__ import annotations

import argparse
import dataclasses
import gc
import json
import random
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlx.core as mx
from mlx import nn

from pytest_yourai.core.config import (
    LoraConfig,
    Quantization,
    StepPlan,
    canonical_keys,
    minimum_memory_bytes,
)
from pytest_yourai.core.paths import packaged_models
from pytest_yourai.models.presets import read_presets
from pytest_yourai.models.source import ModelSource
from pytest_yourai.worker.engine import device, trial, weights
from pytest_yourai.worker.engine.adapted_modules import matching_lora_keys
from pytest_yourai.worker.engine.adapters import BaseModel
from pytest_yourai.worker.protocol import StepSample, TrialEvent, TrialRequest

ATTENTION = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj")
MLP = ("mlp.gate_proj", "mlp.up_proj", "mlp.down_proj")
KEY_SETS = {
    "qkvo": ATTENTION,
    "q": ATTENTION[:1],
    "qv": (ATTENTION[0], ATTENTION[2]),
    "o": ATTENTION[3:],
    "mlp": MLP,
    "down": MLP[2:],
    "gate": MLP[:1],
    "all": (*ATTENTION, *MLP),
}


def _llama(
    hidden: int, depth: int, inner: int, heads: int, kv: int, words: int, **more: Any
) -> dict[str, Any]:
    return {
        "model_type": "llama",
        "hidden_size": hidden,
        "num_hidden_layers": depth,
        "intermediate_size": inner,
        "num_attention_heads": heads,
        "num_key_value_heads": kv,
        "rms_norm_eps": 1e-05,
        "vocab_size": words,
        "rope_theta": 500000.0,
        "tie_word_embeddings": False,
        **more,
    }


def architectures() -> dict[str, dict[str, Any]]:
    presets = read_presets(packaged_models())
    found = {name: dict(preset.architecture or {}) for name, preset in presets.items()}
    tied: dict[str, Any] = {"tie_word_embeddings": True}
    qwen2: dict[str, Any] = {"model_type": "qwen2", "rope_theta": 1e6}
    qwen3: dict[str, Any] = {
        "model_type": "qwen3", "rope_theta": 1e6, "head_dim": 128, "max_position_embeddings": 40960,
    }  # fmt: skip
    return found | {
        "qwen2-0.5b": _llama(896, 24, 4864, 14, 2, 151936, **qwen2, **tied),
        "qwen2-7b": _llama(3584, 28, 18944, 28, 4, 152064, **qwen2),
        "qwen2-32b": _llama(5120, 64, 27648, 40, 8, 152064, **qwen2),
        "llama-1b": _llama(2048, 16, 8192, 32, 8, 128256, **tied),
        "llama-3b": _llama(3072, 28, 8192, 24, 8, 128256, **tied),
        "qwen3-4b": _llama(2560, 36, 9728, 32, 8, 151936, **qwen3, **tied),
        "phi3-mini": _llama(3072, 32, 8192, 32, 32, 32064, model_type="phi3"),
        "gemma2-2b": {
            "model_type": "gemma2",
            "hidden_size": 2304,
            "num_hidden_layers": 26,
            "intermediate_size": 9216,
            "num_attention_heads": 8,
            "num_key_value_heads": 4,
            "head_dim": 256,
            "rms_norm_eps": 1e-06,
            "vocab_size": 256000,
        },
        # For CPUs, in float32: shapes that no term of the estimate can hide behind.
        "small": _llama(128, 6, 512, 4, 2, 1000, torch_dtype="float32"),
        "wide": _llama(256, 4, 320, 8, 8, 500, torch_dtype="float32"),
        "deep": _llama(96, 12, 256, 4, 1, 2000, torch_dtype="float32", model_type="qwen2"),
        "wordy": _llama(64, 4, 192, 4, 2, 16000, torch_dtype="float32", **tied),
    }


@dataclass(frozen=True)
class Job:
    """One configuration of one model."""

    model: str
    batch_size: int
    rank: int
    layers: int
    seq_length: int
    keys: str = "qkvo"
    checkpoint: bool = False
    bits: int | None = 4
    dtype: str | None = None


def star(middle: Job, depth: int, extras: int) -> Iterator[Job]:
    """`middle`, each of its settings moved, and `extras` random combinations."""
    yield middle
    for batch in (1, 2, 8):
        yield dataclasses.replace(middle, batch_size=batch)
    for rank in (8, 256):
        yield dataclasses.replace(middle, rank=rank)
    for layers in (4, depth):
        yield dataclasses.replace(middle, layers=layers)
    for length, batch in ((128, 4), (257, 4), (512, 4), (1024, 2), (2048, 1)):
        yield dataclasses.replace(middle, seq_length=length, batch_size=batch)
    for keys in KEY_SETS:
        if keys != middle.keys:
            yield dataclasses.replace(middle, keys=keys)
    for layers, rank in ((middle.layers, middle.rank), (depth, 128), (4, 8)):
        yield dataclasses.replace(middle, checkpoint=True, layers=layers, rank=rank)
    yield dataclasses.replace(middle, checkpoint=True, keys="all", layers=depth)
    chance = random.Random(middle.model)
    for _ in range(extras):
        length = chance.choice((128, 256, 512, 1024))
        yield dataclasses.replace(
            middle,
            batch_size=chance.choice((1, 2, 3, 4, 6, 8)) if length < 1024 else 1,
            rank=chance.choice((4, 8, 16, 32, 64, 128, 256)),
            layers=chance.randint(1, depth),
            seq_length=length,
            keys=chance.choice(("qkvo", "qkvo", "all", "qv")),
            checkpoint=chance.random() < 0.2,
        )


def cuda_jobs() -> Iterator[Job]:
    yield from star(Job("llama-8b", 4, 64, 16, 256), 32, 6)
    yield from star(Job("llama-1b", 4, 64, 8, 256), 16, 10)
    for batch, rank, layers, length in (
        (1, 16, 8, 256), (1, 64, 16, 256), (2, 64, 16, 256), (1, 64, 80, 256), (1, 64, 16, 512),
        (2, 16, 40, 256), (1, 128, 80, 128),
    ):  # fmt: skip
        yield Job("hermes-70b", batch, rank, layers, length)
    yield Job("hermes-70b", 1, 64, 16, 256, keys="all")
    yield Job("hermes-70b", 1, 64, 80, 256, keys="all", checkpoint=True)
    yield from star(Job("r1-distill-14b", 4, 64, 16, 256), 48, 4)
    for bits in (8, None):
        for keys, checkpoint in (("qkvo", False), ("all", False), ("all", True)):
            yield Job("llama-1b", 4, 64, 8, 256, keys=keys, checkpoint=checkpoint, bits=bits)
            yield Job("llama-8b", 2, 64, 16, 512, keys=keys, checkpoint=checkpoint, bits=bits)
    for dtype in ("float16", "float32"):
        for bits in (4, None):
            yield Job("llama-1b", 4, 64, 8, 256, bits=bits, dtype=dtype)
            yield Job("llama-1b", 2, 64, 16, 512, keys="all", bits=bits, dtype=dtype)
    yield from star(Job("hermes-mistral-7b", 4, 64, 16, 512), 32, 4)
    yield from star(Job("llama-3b", 4, 32, 14, 256), 28, 8)
    yield from star(Job("qwen2-0.5b", 4, 32, 12, 256), 24, 8)
    for name, depth in (("qwen3-4b", 36), ("gemma2-2b", 26), ("phi3-mini", 32)):
        for keys, checkpoint in (("usual", False), ("every", False), ("usual", True)):
            for batch, rank, layers, length in ((4, 64, 8, 256), (1, 16, depth, 512)):
                yield Job(name, batch, rank, layers, length, keys, checkpoint)
    yield from star(Job("qwen2-7b", 4, 64, 14, 256), 28, 2)
    for batch, rank, layers, length in ((1, 64, 16, 256), (2, 128, 64, 256), (1, 32, 32, 1024)):
        yield Job("qwen2-32b", batch, rank, layers, length)


def cpu_jobs() -> Iterator[Job]:
    for name, depth in (("small", 6), ("wide", 4), ("deep", 12), ("wordy", 4), ("tiny", 4)):
        middle = Job(name, 4, 16, depth // 2, 128, bits=None)
        for job in star(middle, depth, 6):
            yield dataclasses.replace(
                job, rank=min(job.rank, 64), seq_length=min(job.seq_length, 512)
            )


class Bench:
    """Holds one model at a time."""

    def __init__(self) -> None:
        self._architectures = architectures()
        self._held: tuple[str, int | None, str | None] | None = None
        self._model: nn.Module | None = None
        self.base_bytes = 0

    def architecture(self, job: Job) -> dict[str, Any]:
        own = {"torch_dtype": job.dtype} if job.dtype else {}
        return self._architectures[job.model] | own

    def measure(self, job: Job) -> dict[str, Any]:
        model = self._load(job)
        keys = KEY_SETS.get(job.keys) or self._keys_of(model, job)
        choice = canonical_keys(keys)
        config = LoraConfig(
            job.batch_size,
            job.rank,
            job.layers,
            job.seq_length,
            job.checkpoint,
            lora_keys=choice,
        )
        peaks: list[int] = []

        def note(event: TrialEvent) -> None:
            if isinstance(event, StepSample):
                peaks.append(event.peak_memory_bytes)

        plan = StepPlan(measured_steps=1, warmup_steps=3, max_warmup_steps=3)
        request = TrialRequest(config, plan, memory_limit_bytes=1, data=None)
        base = BaseModel(model, self._source(job), {choice: keys}, self.base_bytes)
        trial.run_trial(base, request, None, note)
        return {
            "model": job.model,
            "dtype": self.architecture(job).get("torch_dtype", "bfloat16"),
            "quantization_bits": job.bits,
            "lora_keys": list(keys),
            "batch_size": job.batch_size,
            "lora_rank": job.rank,
            "lora_layers": job.layers,
            "seq_length": job.seq_length,
            "grad_checkpoint": job.checkpoint,
            "base_bytes": self.base_bytes,
            "minimum_bytes": minimum_memory_bytes(peaks),
        }

    def _keys_of(self, model: nn.Module, job: Job) -> tuple[str, ...]:
        if job.keys == "usual":
            return matching_lora_keys(model, self._source(job))["qkvo"]
        linear = (nn.Linear, nn.QuantizedLinear)
        return tuple(
            sorted(
                path for path, each in model.layers[0].named_modules() if isinstance(each, linear)
            )
        )

    def _source(self, job: Job) -> ModelSource:
        return ModelSource(
            name=job.model,
            architecture=self.architecture(job),
            folder=None,
            synthetic=True,
            quantization=Quantization(job.bits) if job.bits else None,
            lora_keys=("qkvo",),
        )

    def _load(self, job: Job) -> nn.Module:
        wanted = job.model, job.bits, job.dtype
        if self._model is None or self._held != wanted:
            self._model = None
            gc.collect()
            mx.clear_cache()
            self._model = weights.load(self._source(job))
            self._held = wanted
            self.base_bytes = mx.get_active_memory()
        return self._model


def say(text: str) -> None:
    """To stderr: mlx-lm's own table goes to stdout."""
    print(text, file=sys.stderr, flush=True)


def measure_all(jobs: Sequence[Job], path: Path, seconds: float) -> None:
    bench = Bench()
    rows: list[dict[str, Any]] = []
    began = time.monotonic()
    for job in dict.fromkeys(jobs):
        if time.monotonic() - began > seconds:
            say("time is up")
            break
        start = time.monotonic()
        try:
            row = bench.measure(job)
        except Exception as problem:  # noqa: BLE001 - one that cannot run is no reason to stop
            say(f"{job}: {type(problem).__name__}: {problem}")
            continue
        rows.append(row)
        took_s = time.monotonic() - start
        say(f"{job}: {row['minimum_bytes'] / 1e9:.3f} GB, {took_s:.1f} s")
        write(path, rows)


def write(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    found = device.describe()
    models = {row["model"] for row in rows}
    document = {
        "about": "minimum memory of LoRA training steps, measured by tests/performance/floors.py",
        "device": {
            key: value
            for key, value in dataclasses.asdict(found).items()
            if key != "free_memory_bytes"
        },
        "architectures": {name: value for name, value in architectures().items() if name in models},
    }
    lines = ",\n".join(f"  {json.dumps(row)}" for row in rows)
    head = json.dumps(document, indent=1).removesuffix("\n}")
    path.write_text(f'{head},\n "floors": [\n{lines}\n ]\n}}\n', encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("jobs", choices=("cuda", "cpu"))
    parser.add_argument("file", type=Path)
    parser.add_argument("--seconds", type=float, default=500)
    parser.add_argument("--only", nargs="*")
    arguments = parser.parse_args()
    jobs = cuda_jobs() if arguments.jobs == "cuda" else cpu_jobs()
    chosen = [job for job in jobs if not arguments.only or job.model in arguments.only]
    measure_all(chosen, arguments.file, arguments.seconds)


if __name__ == "__main__":
    main()

"""The words of our own that files have as values, and that programs read back."""

from __future__ import annotations

from typing import get_args

from pytest_yourai.core.config import FineTuneType, Objective, Optimizer
from pytest_yourai.core.hosts import DistributedBackend
from pytest_yourai.core.outcomes import Outcome, SkipReason
from pytest_yourai.core.power import PowerSource, ThermalState
from pytest_yourai.core.recipe import Schedule

_PRESETS = (
    *("hermes-mistral-7b", "dolphin-8b", "llama-8b", "r1-distill-14b", "hermes-70b"),
    *("qwen2.5-0.5b", "qwen3-0.6b", "qwen3-1.7b", "qwen3-4b", "smollm3-3b"),
    *("gemma3-1b", "gemma3-4b", "llama3.2-1b", "llama3.2-3b"),
)

_SETTINGS = ("synthetic", "exhaustive", "low-memory")

_MODULES = (
    *("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj"),
    *("mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"),
)

_METRICS = ("minimum_memory", "peak_memory", "step_time", "lora_keys", "quantization", "versions")

_EVENTS = (
    *("benchmark_complete", "benchmark_start", "data_notes", "memory_report", "model_loaded"),
    *("model_not_run", "model_start", "preflight_check", "run_facts", "search_stopped"),
    *("soak_complete", "soak_start", "subprocess_completed", "subprocess_failed"),
    *("subprocess_spawned", "subprocess_start", "subprocess_timeout", "training_complete"),
    *("training_crash", "training_reload", "training_saved", "training_skipped_batch"),
    "training_start",
    *("trial_complete", "trial_kept", "trial_repeated", "trial_start"),
)

_VERDICTS = ("not read",)
"""Of `yourai verify`."""

_PARTS_OF_FITS = ("carried_over", "does_not_fit", "measured", "would_not_fit", "pytest-yourai")
"""Of `yourai fits` and of a file that is shared."""

_MATRICES = ("common.yaml", "full.yaml", "low-memory.yaml", "quick.yaml", "safe.yaml", "tiny.yaml")
"""The packaged ones."""

_LIMITS_OF_RANKS = ("batch too small to divide", "steps too short to share", "the link")
"""What keeps ranks from being faster together."""

_ENDS = (
    "active_memory",
    "exception",
    "finished",
    "footprint",
    "interval",
    "memory_limit",
    "patience",
)

OWN_WORDS = frozenset(
    (*Outcome, *SkipReason, *Objective, *FineTuneType, *Optimizer, *get_args(Schedule))
    + (*ThermalState, *get_args(PowerSource), *DistributedBackend)
    + (*_PRESETS, *_SETTINGS, *_MODULES, *_METRICS, *_EVENTS, *_VERDICTS, *_ENDS)
    + (*_PARTS_OF_FITS, *_LIMITS_OF_RANKS, *_MATRICES)
)
"""They stay where somebody's password is the same; those of few characters stay anyway."""

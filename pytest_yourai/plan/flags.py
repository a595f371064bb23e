"""The table of flags and ini keys, from which help, documentation and parsing come.

Kept light: every pytest run imports it, with or without our flags.
"""

from __future__ import annotations

from pytest_yourai.core.axes import AXES
from pytest_yourai.plan.axis_flags import axis_flag
from pytest_yourai.plan.flag_types import Flag, FlagGroup

INVOCATION_VARIABLE = "YOURAI_INVOCATION"
"""Says to the pytest that a `yourai` command becomes how it was called."""


FAIL_ON_HELP = (
    "largest tolerated regression: METRIC:5%, METRIC:20ms or METRIC:5%+20ms, where METRIC is "
    "minimum_memory, peak_memory, step_time, tokens_per_second or mean_step_time; or none, to "
    "report only; may be repeated"
)

GROUPS = (
    FlagGroup(
        "What to measure",
        (
            Flag(
                "model",
                "NAME",
                "model to measure: a preset, a folder or owner/name; may be repeated, to measure "
                "one after the other",
                is_repeatable=True,
            ),
            Flag(
                "models",
                "FILE|all",
                "YAML list of presets, where --yourai-model and --yourai-benchmark look up names; "
                "all: the packaged list, with the small ones in a walk",
                "models.yaml",
                aliases=("--presets",),
            ),
            Flag(
                "benchmark",
                None,
                "measure each model in its safe configuration, smallest first, until one does not "
                "fit",
                "off",
                is_command=True,
            ),
            Flag(
                "optimize",
                None,
                "with --yourai-benchmark: also sweep each model that passes",
                "off",
            ),
            Flag(
                "recommend",
                None,
                "print which models fit by estimate, and measure nothing",
                "off",
                is_command=True,
            ),
            Flag(
                "verify",
                None,
                "check on this machine, in two minutes, what is measured, limited and predicted",
                "off",
                is_command=True,
            ),
            Flag(
                "config",
                "FILE",
                "recipe to measure: the YAML file that mlx_lm.lora --config takes",
                "no recipe",
                aliases=("-c",),
            ),
            Flag(
                "data",
                "PATH",
                "training data, in a format of mlx-lm",
                "synthetic rows of full length",
            ),
            Flag(
                "bad-rows",
                "refuse|skip",
                "rows that cannot be trained on: refuse the data, or leave them out, as training "
                "then does",
                "refuse",
            ),
            Flag("mask-prompt", None, "no loss for prompts, as training with --mask-prompt", "off"),
            Flag(
                "weights",
                "auto|local|hub|synthetic",
                "source of the weights; auto: a folder or the local Hugging Face cache, else "
                "synthetic",
                "auto",
            ),
            Flag(
                "quantize",
                "BITS|none",
                "quantization of the base model",
                "as stored for local weights; 4 for synthetic presets (tiny: none)",
            ),
            Flag(
                "replay", "PROFILE", "replay the measurements of a recorded profile; nothing is run"
            ),
        ),
    ),
    FlagGroup(
        "Configurations",
        (
            Flag(
                "quick",
                None,
                "use the quick matrix; with another --yourai flag, --quick for short",
                "off",
            ),
            Flag(
                "matrix",
                "FILE",
                "your own YAML matrix",
                "full.yaml; under 10 GB low-memory.yaml",
            ),
            *map(axis_flag, AXES),
            Flag(
                "effective-batch-size",
                "N",
                "rows of one update: each batch size gets the accumulation that keeps it",
                "no accumulation",
                aliases=("--effective-batch",),
            ),
        ),
    ),
    FlagGroup(
        "Several machines",
        (
            Flag(
                "hosts",
                "N|FILE",
                "train each configuration data parallel, on N ranks of this machine or on the "
                "hosts of mlx.launch's hostfile",
                "one process",
            ),
            Flag(
                "hosts-backend",
                "ring|nccl|jaccl|jaccl-ring|mpi",
                "what the ranks talk through, as mlx.launch --backend",
                "the hostfile's, else nccl with CUDA, else ring",
            ),
            Flag(
                "link-gbit",
                "GBIT",
                "with --yourai-recommend and --yourai-hosts: speed of the link between the ranks "
                "in Gbit/s",
                "ring and mpi 10, jaccl 40, nccl 100; on one machine 28, nccl 1000",
            ),
            Flag(
                "profile",
                "PROFILE",
                "with --yourai-recommend and --yourai-hosts: what one machine has measured, for "
                "the times of steps, or several, for that of the link; may be repeated",
                "memory alone is estimated",
                is_repeatable=True,
            ),
        ),
    ),
    FlagGroup(
        "Budget",
        (
            Flag(
                "max-memory",
                "GB",
                "memory budget in GB (1e9 bytes)",
                "detected",
                aliases=("--memory",),
            ),
            Flag(
                "timeout",
                "S",
                "time limit of each item in seconds, as a pytest-timeout mark",
                "300 or --timeout",
            ),
            Flag(
                "compile-timeout",
                "S",
                "time limit of each step that compiles, in seconds; that of the item counts from "
                "its end",
                "900",
            ),
            Flag(
                "force",
                None,
                "go on although the guard would stop, available memory is too low, or a trial is "
                "predicted not to fit",
                "off",
            ),
        ),
    ),
    FlagGroup(
        "Search",
        (
            Flag(
                "objective", "score|tokens_per_second", "measure of the best configuration", "score"
            ),
            Flag(
                "search",
                "fast|exhaustive",
                "fast: only run configurations that lead to the best one",
                "exhaustive",
            ),
            Flag("steps", "N", "measured steps in each trial", "10; 5 with --yourai-benchmark"),
            Flag("warmup", "N", "minimum number of warm-up steps in each trial", "2"),
            Flag(
                "resume", None, "keep the results of an earlier run with the same identity", "off"
            ),
            Flag(
                "soak",
                "MINUTES",
                "after a sweep, train with its best configuration for so many minutes",
                "no soak",
            ),
        ),
    ),
    FlagGroup(
        "Output",
        (
            Flag(
                "output",
                "FILE",
                "file for the profile, for the benchmark results of several models, or for the "
                "numbers of --yourai-verify",
                "optimal_config.json, benchmark_results.json",
            ),
            Flag("log", "FILE", "file for the journal", "benchmark_log.jsonl"),
            Flag(
                "lora-config",
                "FILE",
                "file to write the best configuration to, for mlx_lm.lora --config",
                "not written",
            ),
            Flag(
                "report",
                "FILE",
                "file for an HTML page of the results",
                "not written",
            ),
            Flag(
                "markdown",
                "FILE",
                "file for the results as Markdown for GitHub",
                "not written; in a GitHub job always its summary",
            ),
            Flag(
                "compare",
                "PROFILE",
                "compare with this earlier profile, and fail if results got worse",
            ),
            Flag(
                "fail-on",
                "METRIC:AMOUNT",
                FAIL_ON_HELP,
                "minimum_memory:5%, mean_step_time:10%, step_time:25%",
                is_repeatable=True,
            ),
            Flag(
                "confirm",
                "TIMES",
                "how often a regression of step time is measured again before it fails: 0, 1 or 2",
                "2 where a regression fails, else 0",
            ),
        ),
    ),
    FlagGroup(
        "Advanced",
        (
            Flag(
                "isolation",
                "model|trial",
                "one worker process for all trials of a model, or one for each trial",
                "model",
            ),
            Flag("trust-remote-code", None, "run Python code from a model folder", "off"),
        ),
    ),
)
"""In the order of help."""

FLAGS = tuple(flag for group in GROUPS for flag in group.flags)

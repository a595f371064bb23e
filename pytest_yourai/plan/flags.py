"""Flags and ini keys, and what is to be known of them in every pytest run.

Kept light: other people's suites import this, without our flags. Their values: `options`.
"""

from __future__ import annotations

from typing import NamedTuple


class Flag(NamedTuple):
    """`--yourai-NAME METAVAR`, and the ini key `yourai_NAME`; a switch has no metavar.

    What is a command has no ini key: it would take every run over.
    """

    name: str
    metavar: str | None
    help: str
    default: str = ""
    is_command: bool = False
    is_repeatable: bool = False
    """Whether it may be given several times; its ini key then takes a line for each."""

    @property
    def option(self) -> str:
        return f"--yourai-{self.name}"

    @property
    def key(self) -> str:
        return f"yourai_{self.name.replace('-', '_')}"


FAIL_ON_HELP = (
    "what may not get worse: METRIC:5%, METRIC:20ms or METRIC:5%+20ms, METRIC one of "
    "minimum_memory, peak_memory, step_time, tokens_per_second and mean_step_time; or none, to "
    "name it only; may be repeated"
)

FLAGS = (
    Flag(
        "model",
        "NAME",
        "measure this model: a preset, a folder or owner/name; may be repeated",
        is_repeatable=True,
    ),
    Flag("models", "FILE", "a YAML list of presets of one's own", "models.yaml"),
    Flag(
        "benchmark",
        None,
        "try models in a safe configuration each, smallest first, until one does not fit",
        "off",
        is_command=True,
    ),
    Flag("optimize", None, "with --yourai-benchmark: sweep each model that passes", "off"),
    Flag("quick", None, "the quick matrix; with another --yourai flag also as --quick", "off"),
    Flag(
        "matrix",
        "FILE",
        "a YAML matrix of one's own",
        "full.yaml; under 10 GB low-memory.yaml",
    ),
    Flag("max-memory", "GB", "memory budget in GB (1e9 bytes)", "detected"),
    Flag(
        "output",
        "FILE",
        "where the profile goes, or of several models the benchmark results",
        "optimal_config.json, benchmark_results.json",
    ),
    Flag("log", "FILE", "where the journal goes", "benchmark_log.jsonl"),
    Flag(
        "lora-config",
        "FILE",
        "where the best configuration goes, as a file for mlx_lm.lora --config",
        "not written",
    ),
    Flag(
        "report",
        "FILE",
        "where an HTML page of the results goes; needs the extra report",
        "not written",
    ),
    Flag(
        "markdown",
        "FILE",
        "where the results go as Markdown for GitHub",
        "not written; the summary of a job on GitHub always",
    ),
    Flag("steps", "N", "measured steps of each trial", "10; 5 with --yourai-benchmark"),
    Flag("warmup", "N", "least warm-up steps of each trial", "2"),
    Flag(
        "seq-length",
        "N,M",
        "max_seq_length of mlx-lm, in tokens; several make it an axis",
        "512 (tiny: 64)",
    ),
    Flag("data", "PATH", "training data as mlx-lm reads it", "made-up rows of full length"),
    Flag(
        "weights",
        "auto|local|hub|synthetic",
        "where weights come from; auto: a folder or the local Hugging Face cache, else synthetic",
        "auto",
    ),
    Flag(
        "quantize",
        "BITS|none",
        "quantization of the base model",
        "that of local weights; for synthetic presets 4 (tiny: none)",
    ),
    Flag(
        "lora-keys",
        "A,B",
        "modules that get adapters, as paths within a layer",
        "the q, k, v and o projections",
    ),
    Flag("grad-checkpoint", None, "gradient checkpointing", "off"),
    Flag("timeout", "S", "seconds for each item, as a pytest-timeout mark", "300 or --timeout"),
    Flag("objective", "score|tokens_per_second", 'what "best" means', "score"),
    Flag(
        "search",
        "fast|exhaustive",
        "run all configurations, or those that lead to the best one",
        "exhaustive",
    ),
    Flag(
        "isolation",
        "model|trial",
        "a worker serves all trials of a model, or one each",
        "model",
    ),
    Flag(
        "force",
        None,
        "go on where the guard would stop, available memory is under the floor, or a prediction "
        "says no",
        "off",
    ),
    Flag("resume", None, "keep what an earlier run of the same identity measured", "off"),
    Flag(
        "soak",
        "MINUTES",
        "after a sweep train on with its best configuration for so long",
        "no soak",
    ),
    Flag("replay", "PROFILE", "take measurements from a recorded profile instead of a worker"),
    Flag("compare", "PROFILE", "compare with this earlier profile, and fail where it was better"),
    Flag(
        "fail-on",
        "METRIC:AMOUNT",
        FAIL_ON_HELP,
        "minimum_memory:5%, mean_step_time:10%, step_time:25%",
        is_repeatable=True,
    ),
    Flag(
        "recommend",
        None,
        "print which models fit, by estimate, and run nothing",
        "off",
        is_command=True,
    ),
    Flag("trust-remote-code", None, "run Python code that a model folder brings", "off"),
)

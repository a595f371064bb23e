"""The options of a run, each from its flag, else its ini key, else its default."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pytest_yourai.core.axes import GRAD_CHECKPOINT, VARIANTS, value_text
from pytest_yourai.core.config import Objective, QuantizeChoice, StepPlan
from pytest_yourai.core.errors import OptionError
from pytest_yourai.core.hosts import HostGroup
from pytest_yourai.core.paths import without_links
from pytest_yourai.core.recipe import Recipe
from pytest_yourai.models.dataset_checks import data_files
from pytest_yourai.models.model import NamedModel
from pytest_yourai.models.source import BadRows
from pytest_yourai.plan.hosts import check_hosts
from pytest_yourai.plan.matrix import AxisValues
from pytest_yourai.plan.recipe_file import RecipeFile
from pytest_yourai.store.compare.confirmation import MOST_ROUNDS
from pytest_yourai.store.compare.thresholds import RegressionThresholds

DEFAULT_TIMEOUT_S = 300.0

_START_TIMEOUT_S = 120.0

CHECK_STEPS = 5
"""Measured steps of a safe configuration: enough to show that it trains."""


@dataclass(frozen=True)
class Options:
    """Everything that the user asked for; None where the model or the matrix decides.

    `presets` is the list of models to look names up in; `check_steps` are the steps of a safe
    configuration in a benchmark.
    """

    given: frozenset[str]
    """Names of the flags on the command line; all others are from ini keys or defaults."""
    models: tuple[NamedModel, ...]
    presets: Path
    walks_all: bool
    """True if a walk visits presets that are left out of one otherwise."""
    benchmark: bool
    optimize: bool
    quick: bool
    matrix: Path | None
    memory_limit_bytes: int | None
    output: Path
    log: Path
    lora_config: Path | None
    report: Path | None
    markdown: Path | None
    steps: StepPlan
    check_steps: StepPlan
    axes: AxisValues
    """Values of the axes that flags name, ascending."""
    effective_batch_size: int | None
    """Rows of one update of the optimizer, from which accumulation follows."""
    recipe_file: RecipeFile | None
    recipe: Recipe
    """What all trials share: the file's, and what flags say."""
    data: str | None
    has_data_of_recipe: bool
    """True if the recipe names the data, and no flag does."""
    bad_rows: BadRows
    weights: Literal["auto", "local", "hub", "synthetic"]
    quantize: QuantizeChoice
    timeout_s: float
    """Seconds; 0 if pytest's own --timeout switches the limit off."""
    compile_timeout_s: float
    objective: Objective
    search: Literal["fast", "exhaustive"]
    soak_s: float | None
    replay: Path | None
    compare: Path | None
    thresholds: RegressionThresholds
    confirm: int | None
    """How often a regression of step time is measured again, if a flag says so."""
    isolation: Literal["model", "trial"]
    force: bool
    resume: bool
    trust_remote_code: bool
    hosts: HostGroup | None
    """The ranks that train together; None where one process does alone."""
    link_gbit: float | None
    """Speed of the link between them, for an estimate; None where nobody says."""
    profiles: tuple[Path, ...]
    """What was measured before, for an estimate of several ranks."""

    @property
    def worker_start_timeout_s(self) -> float:
        """Seconds that a worker has to start, and to inspect model and data."""
        return max(self.timeout_s, _START_TIMEOUT_S)

    @property
    def is_replay(self) -> bool:
        """True if recorded measurements are used, and nothing is run."""
        return self.replay is not None

    @property
    def rounds_of_confirmation(self) -> int:
        """How often a regression of step time is measured again before it counts."""
        if self.compare is None or self.is_replay:
            return 0
        usual = MOST_ROUNDS if self.thresholds.fails else 0
        return usual if self.confirm is None else self.confirm

    @property
    def recipe_flags(self) -> tuple[str, ...]:
        """The flags that say what is trained, and how, for another command."""
        flags = [] if self.recipe_file is None else [f"--yourai-config={self.recipe_file.path}"]
        for axis in VARIANTS:
            values = self.axes.get(axis.name, ())
            if axis is GRAD_CHECKPOINT:
                flags += [f"--yourai-{axis.flag}"] if any(values) else []
            elif values:
                flags.append(f"--yourai-{axis.flag}={','.join(map(value_text, values))}")
        if "effective-batch-size" in self.given:
            flags.append(f"--yourai-effective-batch-size={self.effective_batch_size}")
        return tuple(flags)

    @property
    def sweeps_models(self) -> bool:
        """False for a walk that only checks safe configurations."""
        return self.optimize or not self.benchmark


def check_combinations(options: Options) -> None:
    """OptionError if flags contradict each other; an ini key without effect here may stay."""
    given = options.given
    if "optimize" in given and options.optimize and not options.benchmark:
        raise OptionError("--yourai-optimize needs --yourai-benchmark: add it, or leave it out")
    if not options.sweeps_models and given & {"quick", "matrix"}:
        raise OptionError(
            "--quick and --yourai-matrix are for sweeps: add --yourai-optimize to sweep the models "
            "that pass, or leave them out"
        )
    for name, use in (("lora-config", ""), ("soak", " to train on with")):
        if name in given and not options.sweeps_models:
            raise OptionError(
                f"--yourai-{name}: --yourai-benchmark alone finds no best configuration{use}: add "
                "--yourai-optimize, or leave it out"
            )
    if options.recipe_file and not (options.models or options.benchmark or options.is_replay):
        raise OptionError(
            f"--yourai-config: {options.recipe_file.path} names no model: add a line with model: "
            "to it, or --yourai-model=NAME"
        )
    if "soak" in given and options.is_replay:
        raise OptionError("--yourai-soak: a replay trains nothing: leave one of the two out")
    has_several = options.benchmark or len(options.models) > 1
    if has_several and ("replay" in given or (options.replay and not options.benchmark)):
        raise OptionError(
            "--yourai-replay: a recording is of one model: leave --yourai-benchmark and further "
            "models out"
        )
    if "fail-on" in given and options.compare is None:
        raise OptionError(
            "--yourai-fail-on needs a profile to compare with: add --yourai-compare=PROFILE"
        )
    if "confirm" in given and options.compare is None:
        raise OptionError(
            "--yourai-confirm needs a profile to compare with: add --yourai-compare=PROFILE"
        )
    _check_ranks(options)
    names = Counter(str(without_links(named.folder)) for named in options.models)
    for named in options.models:
        if names[str(without_links(named.folder))] > 1:
            raise OptionError(f"--yourai-model: {named.name} is named twice: name it once")


def _check_ranks(options: Options) -> None:
    for name in ("link-gbit", "profile"):
        if name in options.given:
            raise OptionError(
                f"--yourai-{name} is for estimates of several ranks: add --yourai-recommend and "
                "--yourai-hosts, or leave it out"
            )
    if options.hosts is None:
        if "hosts-backend" in options.given:
            raise OptionError(
                "--yourai-hosts-backend needs ranks: add --yourai-hosts=N or --yourai-hosts=FILE"
            )
    elif not options.is_replay:
        check_hosts(options.hosts, "--yourai-hosts")
    elif "hosts" in options.given:
        raise OptionError("--yourai-hosts: a replay launches nothing: leave one of the two out")


def check_files(options: Options) -> None:
    """OptionError if a file would be written twice, or is also read."""
    given = {
        "output": options.output,
        "log": options.log,
        "lora-config": options.lora_config,
        "report": options.report,
        "markdown": options.markdown,
    }
    written = [(name, path) for name, path in given.items() if path is not None]
    for (name, path), (other, other_path) in itertools.combinations(written, 2):
        if without_links(path) == without_links(other_path):
            raise OptionError(f"--yourai-{name} and --yourai-{other} are one file: name two")
    for (name, path), (reader, read) in itertools.product(written, _files_read(options)):
        if without_links(path) == without_links(read):
            raise OptionError(
                f"--yourai-{name}: {path} is read for --yourai-{reader}: name another file, or it "
                "would be lost"
            )
    if options.is_replay and options.resume:
        raise OptionError("--yourai-resume: a replay measures nothing to go on with: leave it out")


def _adapters(options: Options) -> Path | None:
    """The adapters that training begins with."""
    path = options.recipe.resume_adapter_file
    return None if path is None else Path(path)


def _files_read(options: Options) -> Iterator[tuple[str, Path]]:
    """Name of the flag, and path, of each file that the run reads."""
    single = (
        ("models", options.presets),
        ("matrix", options.matrix),
        ("replay", options.replay),
        ("compare", options.compare),
        ("config", options.recipe_file.path if options.recipe_file else None),
        ("config", _adapters(options)),
        ("hosts", options.hosts.hostfile if options.hosts else None),
    )
    yield from ((name, path) for name, path in single if path is not None)
    yield from (("profile", path) for path in options.profiles)
    if options.data is not None:
        yield from (("data", path) for path in data_files(Path(options.data)))

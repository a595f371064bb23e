"""Sweeps without pytest: the plan, the workers and the files are those of the plugin."""

from __future__ import annotations

import atexit
import logging
import os
import time
import weakref
from collections.abc import Generator, Iterable, Sequence
from typing import Literal

from pytest_yourai.api.arguments import named_as_arguments, options_of
from pytest_yourai.core.config import LoraConfig
from pytest_yourai.core.errors import OptionError, OutputError
from pytest_yourai.core.files import check_writable
from pytest_yourai.core.results import TrialResult
from pytest_yourai.core.signals import deferred
from pytest_yourai.machine.descriptors import provide_descriptors
from pytest_yourai.machine.environment import keep_awake
from pytest_yourai.machine.launch import check_alone
from pytest_yourai.plan.stages import RunPlan, Stage, make_run_plan
from pytest_yourai.report.saved_profile import save_profile
from pytest_yourai.store.journal import Journal, TaggedLog
from pytest_yourai.sweep.reports import ItemCounts, TrialReport
from pytest_yourai.sweep.run_results import RunResults
from pytest_yourai.sweep.stage_runner import StageRunner
from pytest_yourai.sweep.trial_progress import TrialProgress

_LOG = logging.getLogger("pytest_yourai")

_Path = str | os.PathLike[str]


def sweep(
    model: _Path,
    *,
    batch_size: int | Iterable[int] | None = None,
    rank: int | Iterable[int] | None = None,
    num_layers: int | Literal["all"] | Iterable[int | Literal["all"]] | None = None,
    max_seq_length: int | Iterable[int] | None = None,
    grad_checkpoint: bool | None = None,
    fine_tune_type: str | Iterable[str] | None = None,
    optimizer: str | Iterable[str] | None = None,
    lora_keys: str | Iterable[str] | None = None,
    dropout: float | Iterable[float] | None = None,
    grad_accumulation_steps: int | Iterable[int] | None = None,
    effective_batch_size: int | None = None,
    quick: bool = False,
    matrix: _Path | None = None,
    config: _Path | None = None,
    models: _Path | None = None,
    memory_gb: float | None = None,
    data: _Path | None = None,
    bad_rows: Literal["refuse", "skip"] | None = None,
    mask_prompt: bool | None = None,
    weights: Literal["auto", "local", "hub", "synthetic"] | None = None,
    quantize: int | Literal["none"] | None = None,
    steps: int | None = None,
    warmup: int | None = None,
    timeout_s: float | None = None,
    compile_timeout_s: float | None = None,
    objective: Literal["score", "tokens_per_second"] | None = None,
    search: Literal["fast", "exhaustive"] | None = None,
    isolation: Literal["model", "trial"] | None = None,
    force: bool = False,
    replay: _Path | None = None,
    output: _Path | None = None,
    log: _Path | None = None,
    resume: bool = False,
    trust_remote_code: bool = False,
    hosts: int | _Path | None = None,
    hosts_backend: Literal["ring", "nccl", "jaccl", "jaccl-ring", "mpi"] | None = None,
) -> Generator[TrialResult, None, None]:
    """Measure every combination of the values, and yield each result when it is there.

    `model` is a preset, a folder or owner/name. Batch sizes are rows, lengths tokens, memory GB
    (1e9 bytes), times seconds; the other arguments are the plugin's flags, with their defaults.
    Trials run in worker processes, within the budget. `output` gets the profile, as far as it is
    measured, and `log` the journal; without them nothing is written. Closing the generator ends
    the worker, and so does Ctrl-C, which comes out of it.

    InputError where the arguments cannot be used, before anything is started; and from the
    generator where the model, its data or the machine cannot.
    """
    arguments = dict(locals())
    if resume and log is None:
        raise OptionError("resume: name the journal of the earlier run as log")
    with named_as_arguments():
        check_alone(os.environ)
        provide_descriptors()
        plan = make_run_plan(options_of(arguments))
        if output is not None:
            check_writable(plan.options.output, "output")
    run = _SweepRun(plan, has_output=output is not None, has_log=log is not None)
    results = run.results()
    run.close_at_exit(results)
    return results


class _SweepRun:
    """One run of a plan of one stage."""

    def __init__(self, plan: RunPlan, *, has_output: bool, has_log: bool) -> None:
        self._plan = plan
        self._has_output = has_output
        self._has_log = has_log
        self._results = RunResults(plan)
        self._clock = _Clock(plan.options.timeout_s)
        [self._stage] = plan.stages
        self._running: weakref.ref[Generator[TrialResult, None, None]] | None = None

    def close_at_exit(self, results: Generator[TrialResult, None, None]) -> None:
        """Close `results` before Python ends, while modules are still there to write files."""
        # No more than a reference: whoever drops the generator closes it.
        self._running = weakref.ref(results)
        atexit.register(self._close)

    def _close(self) -> None:
        if self._running is not None and (results := self._running()) is not None:
            results.close()

    def results(self) -> Generator[TrialResult, None, None]:
        """Each result when it is there; however it ends, what was measured is written."""
        with named_as_arguments():
            journal = Journal(self._plan.options.log, "log") if self._has_log else None
            runner = StageRunner(
                self._plan,
                TaggedLog(journal),
                _LOG.info,
                self._clock.follow,
                on_result=lambda stage, result: self._add(runner, stage, result),
            )
            awake = keep_awake()
            try:
                runner.begin(self._stage)
                while (item_id := self._next(runner)) is not None:
                    yield self._measure(runner, item_id)
            finally:
                with deferred():
                    atexit.unregister(self._close)
                    runner.close({self._stage: len(self._stage.configs_by_id)})
                    if awake is not None:
                        awake.terminate()
                        awake.wait()
                    if journal is not None:
                        journal.close()
                    self._save()

    def _next(self, runner: StageRunner) -> str | None:
        """The item that the search chooses, else the next one; None if all are measured."""
        left = {
            config: item_id
            for item_id, config in self._stage.configs_by_id.items()
            if config is not None and not runner.is_known(self._stage, item_id)
        }
        chosen = self._choose(runner, list(left)) if left else None
        return left[chosen] if chosen is not None else next(iter(left.values()), None)

    def _choose(self, runner: StageRunner, left: Sequence[LoraConfig]) -> LoraConfig | None:
        sweep_of_stage = runner.sweep_of(self._stage)
        return sweep_of_stage.choose(left, ()) if sweep_of_stage is not None else None

    def _measure(self, runner: StageRunner, item_id: str) -> TrialResult:
        self._clock.start()
        try:
            return runner.measure(self._stage, item_id)
        except _TrialOverdue:
            found = runner.sweep_of(self._stage)
            if found is None:
                raise
            return found.abandon_trial(f"no end after {self._plan.options.timeout_s:g} s,")

    def _add(self, runner: StageRunner, stage: Stage, result: TrialResult) -> None:
        found, items = runner.sweep_of(stage), len(stage.configs_by_id)
        self._results.add(
            TrialReport(
                model=stage.name,
                is_check=False,
                counts=ItemCounts(of_stage=items, of_all=items, models=1),
                opened=runner.info_of(stage),
                journal_problem=runner.journal_problem,
                stopped=found.search.stopped if found is not None else None,
                result=result,
            )
        )

    def _save(self) -> None:
        if not self._has_output or not self._results.results:
            return
        for line in save_profile(self._plan, self._results, str).lines:
            if line.is_failure:
                raise OutputError(line.text)
            _LOG.info(line.text)


class _TrialOverdue(BaseException):
    """The trial takes longer than an item may."""


class _Clock:
    """The limit of a trial, which counts from the end of each compilation."""

    def __init__(self, limit_s: float) -> None:
        self._limit_s = limit_s
        self._started_at = 0.0

    def start(self) -> None:
        self._started_at = time.monotonic()

    def follow(self, progress: TrialProgress) -> None:
        """Take in the progress of the trial; raises _TrialOverdue out of it."""
        if progress.compiling_s is not None:
            self.start()
        elif self._limit_s and time.monotonic() > self._started_at + self._limit_s:
            raise _TrialOverdue

"""From configurations to pytest items: parametrization, ids, marks, the trial, outcome → report.

Lives in the process that runs items: pytest itself, or the one worker of `-n 1`.
"""

from __future__ import annotations

import json
from collections.abc import Generator
from dataclasses import dataclass, field
from typing import Any

import pytest

from pytest_yourai import flags
from pytest_yourai.benchmark import ReplayClock, feed_benchmark
from pytest_yourai.config import LoraConfig
from pytest_yourai.errors import InputError
from pytest_yourai.plan import SweepSetup
from pytest_yourai.results import Outcome, TrialResult
from pytest_yourai.session import Sweep
from pytest_yourai.store.journal import Journal

PROPERTY = "yourai"
"""Name of the user property that carries a trial from the process that ran it, as JSON."""

_BYTES_PER_GB = 1e9


class TrialError(Exception):
    """A trial was asked for what it does not have (yet)."""


@dataclass
class Trial:
    """What the `trial` fixture gives to a test: measured when the test is called.

    Memory in GB (1e9 bytes), times in seconds.
    """

    model: str
    config: LoraConfig
    _result: TrialResult | None = field(default=None, repr=False)

    @property
    def result(self) -> TrialResult:
        if self._result is None:
            raise TrialError(
                "the trial is measured when the test is called: read it in the test, not in a "
                "fixture"
            )
        return self._result

    def ended_as(self, result: TrialResult) -> None:
        """Fill in what was measured; only the item's own hook does this."""
        self._result = result

    @property
    def success(self) -> bool:
        return self.result.success

    @property
    def outcome(self) -> Outcome:
        return self.result.outcome

    @property
    def minimum_memory_gb(self) -> float:
        """What the configuration needs: the MLX peak under the lowest memory limit."""
        return _there(self.result.minimum_memory_bytes) / _BYTES_PER_GB

    @property
    def safe_memory_gb(self) -> float:
        """The minimum with the margin of 15 %."""
        return _there(self.result.safe_memory_bytes) / _BYTES_PER_GB

    @property
    def peak_memory_gb(self) -> float:
        """What it takes within the budget: the MLX peak of the measured steps."""
        return _there(self.result.peak_memory_bytes) / _BYTES_PER_GB

    @property
    def memory_limit_gb(self) -> float:
        return _there(self.result.memory_limit_bytes) / _BYTES_PER_GB

    @property
    def step_time_s(self) -> float:
        """Median of the measured steps."""
        return _there(self.result.step_time_s)

    @property
    def tokens_per_second(self) -> float:
        return _there(self.result.tokens_per_second)

    @property
    def throughput_score(self) -> int:
        return self.config.throughput_score


def _there(value: float | None) -> float:
    if value is None:
        raise TrialError("the trial ended before this was measured")
    return value


class ItemHooks:
    """Registered where items run, while a sweep is asked for."""

    def __init__(self, config: pytest.Config, setup: SweepSetup) -> None:
        self._config = config
        self._setup = setup
        self._journal: Journal | None = None
        self._sweep: Sweep | None = None
        self._total = 0

    @property
    def total(self) -> int:
        """How many configurations are to run."""
        return self._total

    @property
    def sweep(self) -> Sweep | None:
        """The sweep, once the first item is about to run."""
        return self._sweep

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        if "trial" in metafunc.fixturenames:
            has_benchmark = "benchmark" in metafunc.fixturenames
            metafunc.parametrize(
                "trial",
                [
                    self._param(item_id, config, has_benchmark)
                    for item_id, config in self._setup.configs_by_id.items()
                ],
                indirect=True,
            )

    def trial(self, item_id: str) -> Trial:
        """The handle that the fixture gives out."""
        return Trial(self._setup.model.name, self._setup.configs_by_id[item_id])

    def _param(self, item_id: str, config: LoraConfig, has_benchmark: bool) -> Any:
        marks = [
            pytest.mark.lora(
                model=self._setup.model.name,
                batch_size=config.batch_size,
                rank=config.rank,
                layers=config.num_layers,
                seq_length=config.max_seq_length,
                grad_checkpoint=config.grad_checkpoint,
            )
        ]
        if flags.has_timeout(self._config):
            marks.append(pytest.mark.timeout(self._setup.options.timeout_s, method="signal"))
        if has_benchmark and flags.has_benchmark(self._config):
            marks.append(pytest.mark.benchmark(timer=ReplayClock()))
        return pytest.param(item_id, id=item_id, marks=marks)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> Generator[None, object, object]:
        configs = {config for item in session.items if (config := self._config_of(item))}
        self._total = len(configs)
        if configs and not self._config.option.collectonly:
            self._open()
            self._put_next(session.items, 0)
        return (yield)

    def _open(self) -> None:
        try:
            self._journal = Journal(self._setup.options.log)
            self._sweep = Sweep(
                self._setup.plan, self._journal, self._setup.history(), self._setup.prior()
            )
        except InputError as problem:
            raise pytest.UsageError(str(problem)) from None

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, object, object]:
        result = yield
        if self._sweep is not None and self._sweep.is_searching:
            items = item.session.items
            self._put_next(items, items.index(item) + 1)
        return result

    def _put_next(self, items: list[pytest.Item], start: int) -> None:
        """Move the item that the search chooses to `start`, among those that stay to be run.

        Only past items of the same file and class: pytest has set up for those already.
        """
        if self._sweep is None or not self._sweep.is_searching or start >= len(items):
            return
        here: dict[LoraConfig, int] = {}
        elsewhere: set[LoraConfig] = set()
        for place in range(len(items) - 1, start - 1, -1):
            config = self._config_of(items[place])
            if config is None or config in self._sweep.results:
                continue
            if items[place].parent is items[start].parent:
                here[config] = place
            else:
                elsewhere.add(config)
        chosen = self._sweep.choose(here, elsewhere) if here else None
        if chosen is not None:
            items.insert(start, items.pop(here[chosen]))

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self) -> None:
        if self._sweep is not None:
            self._sweep.close(complete=len(self._sweep.results) >= self._total)
            self._setup.remember(self._sweep.calibration)
        if self._journal is not None:
            self._journal.close()

    @pytest.hookimpl(wrapper=True, trylast=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Generator[None, object, object]:
        trial = getattr(item, "funcargs", {}).get("trial")
        if isinstance(trial, Trial) and self._sweep is not None:
            is_first = trial.config not in self._sweep.results
            try:
                result = self._measure(self._sweep, trial.config)
            except BaseException:
                feed_benchmark(item, None)
                raise
            trial.ended_as(result)
            if is_first:
                self._publish(item, self._sweep, result)
            feed_benchmark(item, result)
            _raise_outcome(result)
        return (yield)

    def _measure(self, sweep: Sweep, config: LoraConfig) -> TrialResult:
        try:
            return sweep.measure(config)
        except pytest.fail.Exception:
            # pytest-timeout raises this out of the wait for the worker.
            if not sweep.is_measuring:
                raise
            limit_s = self._setup.options.timeout_s
            return sweep.give_up(Outcome.TIMEOUT, f"no end after {limit_s:g} s,")

    def _config_of(self, item: pytest.Item) -> LoraConfig | None:
        callspec = getattr(item, "callspec", None)
        return self._setup.configs_by_id.get(callspec.params.get("trial")) if callspec else None

    def _publish(self, item: pytest.Item, sweep: Sweep, result: TrialResult) -> None:
        payload = {
            "total": self._total,
            "journal_problem": self._journal.problem if self._journal else None,
            "stopped": sweep.stopped,
            "result": result.to_json(),
        }
        item.user_properties.append((PROPERTY, json.dumps(payload)))
        for name in ("minimum_memory_bytes", "peak_memory_bytes", "step_time_s"):
            if (value := getattr(result, name)) is not None:
                item.user_properties.append((f"{PROPERTY}_{name}", value))
        item.user_properties.append((f"{PROPERTY}_outcome", result.outcome.value))
        if result.outcome.is_failure:
            for title, text in (
                ("worker traceback", sweep.last_traceback),
                ("worker stdout", sweep.last_output.stdout),
                ("worker stderr", sweep.last_output.stderr),
            ):
                if text.strip():
                    item.add_report_section("call", title, text)


def _raise_outcome(result: TrialResult) -> None:
    reason = f"{result.outcome}: {result.reason}"
    if result.outcome in (Outcome.SKIPPED, Outcome.UNAVAILABLE):
        pytest.skip(reason)
    if result.outcome.is_memory_failure:
        raise pytest.xfail.Exception(reason)
    if result.outcome.is_failure:
        pytest.fail(reason, pytrace=False)

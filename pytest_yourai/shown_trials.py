"""What there is to show of each trial of a run: its place, and how long the rest may take."""

from __future__ import annotations

import contextlib
import time
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping

from pytest_yourai.config import LoraConfig
from pytest_yourai.report.sweep_display import Shown, SweepDisplay
from pytest_yourai.run import Run
from pytest_yourai.run_setup import RunSetup, Stage
from pytest_yourai.session import Sweep
from pytest_yourai.time_left import TrialTimes


class ShownTrials:
    """Of one run; `selected` has the ids of the items that are to be run, by stage."""

    def __init__(
        self, display: SweepDisplay, setup: RunSetup, selected: Mapping[Stage, Collection[str]]
    ) -> None:
        self._display = display
        self._setup = setup
        self._selected = selected
        self._times: defaultdict[Stage, TrialTimes] = defaultdict(TrialTimes)

    @contextlib.contextmanager
    def trial(self, run: Run, stage: Stage, item_id: str) -> Iterator[None]:
        """While this trial is measured, or whatever happens in its place."""
        if not self._display.is_on:
            yield
            return
        config, sweep = run.config_of(stage, item_id), run.sweep_of(stage)
        began_at = time.monotonic()
        with self._display.of(self._shown(stage, sweep, config)):
            yield
        if sweep is not None and config in sweep.results:
            self._times[stage].add(sweep.results[config], time.monotonic() - began_at)

    @contextlib.contextmanager
    def soak(self, stage: Stage, config: LoraConfig) -> Iterator[None]:
        """While this configuration is soaked."""
        of_model = "" if self._setup.has_one_profile else f" of {stage.name}"
        asked_s = self._setup.options.soak_s or 1.0
        with self._display.of(Shown(f"Soak{of_model}: {stage.naming.name(config)}", 0, asked_s)):
            yield

    def _shown(self, stage: Stage, sweep: Sweep | None, config: LoraConfig) -> Shown:
        name = stage.naming.name(config)
        if stage.is_check:
            names = list(dict.fromkeys(each.name for each in self._selected))
            place = names.index(stage.name)
            return Shown(f"[{place + 1}/{len(names)}] {stage.name}: {name}", place, len(names))
        done, total = len(sweep.results) if sweep else 0, len(self._selected[stage])
        of_model = "" if self._setup.has_one_profile else f"{stage.name} "
        title = f"{of_model}[{done + 1}/{total}] {name}"
        if sweep is None or sweep.is_searching:
            # Nobody knows what a search will want to know.
            return Shown(title, done, total)
        times = self._times[stage]
        later = self._later(stage, sweep, config)
        return Shown(title, done, total, times.expected_s([config]), times.expected_s(later))

    def _later(self, stage: Stage, sweep: Sweep, present: LoraConfig) -> list[LoraConfig]:
        """What is still to be run after `present`."""
        configs = {stage.configs_by_id[item_id] for item_id in self._selected[stage]}
        return [
            config
            for config in configs
            if config is not None and config != present and sweep.expects_trial(config)
        ]

"""The pytest11 entry point: hooks of a few lines each.

Without our flags this registers flags, a marker and a fixture, and imports nothing heavy; with
them it hands over to `items` (in the process that runs items) and `controller` (in the process
that the user started).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import pytest

from pytest_yourai.core.errors import InputError
from pytest_yourai.core.paths import SOAK_SUITE, SUITE, SUITE_NODE_IDS
from pytest_yourai.plugin import command_line, foreign_settings

if TYPE_CHECKING:
    from pytest_yourai.plan.stages import RunPlan
    from pytest_yourai.plugin.controller import ControllerHooks
    from pytest_yourai.plugin.items import ItemHooks
    from pytest_yourai.report.live_sweep import SweepDisplay
    from pytest_yourai.sweep.run_results import RunResults
    from pytest_yourai.trial_handle import Trial
    from pytest_yourai.worker.process import WorkerStarter


_ENTRY_POINT = "yourai"

ITEM_HOOKS: pytest.StashKey[ItemHooks] = pytest.StashKey()


def pytest_addoption(parser: pytest.Parser, pluginmanager: pytest.PytestPluginManager) -> None:
    # Loaded with -p or pytest_plugins as well, it would be a second plugin, which pytest refuses.
    own_name = pluginmanager.get_name(sys.modules[__name__])
    for other in {_ENTRY_POINT, __name__} - {own_name}:
        pluginmanager.set_blocked(other)
    command_line.add_options(parser)


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config, args: list[str]) -> None:
    command_line.remember_call(early_config)
    command_line.rewrite_quick(args)
    try:
        if any(each.startswith("--yourai-") for each in args):
            _provide_descriptors()
        folders = foreign_settings.named_folders(early_config)
        foreign_settings.refuse_settings_in(early_config, folders)
    except InputError as problem:
        raise command_line.usage_error(early_config, problem) from None


def _provide_descriptors() -> None:
    """Before pytest-benchmark needs them: what it lacks, it raises."""
    from pytest_yourai.machine.descriptors import provide_descriptors  # noqa: PLC0415

    provide_descriptors()


def pytest_cmdline_main(config: pytest.Config) -> int | None:
    try:
        if command_line.answers_without_session(config):
            return _answer(config)
    except InputError as problem:
        raise command_line.usage_error(config, problem) from None
    return None


def _answer(config: pytest.Config) -> int:
    from pytest_yourai.core.installed import import_installed  # noqa: PLC0415
    from pytest_yourai.machine.launch import check_alone  # noqa: PLC0415

    check_alone(os.environ)
    import_installed()
    from pytest_yourai.plugin import answers  # noqa: PLC0415

    return answers.answer(config)


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers",
        "lora(model, batch_size, rank, layers, seq_length, grad_checkpoint): the configuration of "
        'a trial, set on each item; select with -m "lora(rank=64, grad_checkpoint=False)".',
    )
    config.addinivalue_line(
        "markers",
        'lora_limit(size): fail a test that takes `trial` if its configuration needs more than "20 '
        'GB".',
    )
    try:
        if command_line.is_active(config):
            _activate(config)
    except InputError as problem:
        raise command_line.usage_error(config, problem) from None


def _activate(config: pytest.Config) -> None:
    # Imported here: an inert plugin must not pay for pydantic, psutil and yaml.
    from pytest_yourai.core.exiting import exit_quickly  # noqa: PLC0415
    from pytest_yourai.core.installed import import_installed  # noqa: PLC0415
    from pytest_yourai.machine.launch import check_alone  # noqa: PLC0415
    from pytest_yourai.worker.process import WorkerStarter  # noqa: PLC0415

    check_alone(os.environ)
    _provide_descriptors()
    import_installed()
    exit_quickly()
    has_items_here = not _is_distributed(config)
    workers = WorkerStarter()
    config.add_cleanup(workers.close)
    if has_items_here and command_line.needs_worker(config):
        workers.start_ahead()
    _register_hooks(config, workers, has_items_here=has_items_here)


def _register_hooks(config: pytest.Config, workers: WorkerStarter, *, has_items_here: bool) -> None:
    from pytest_yourai.plan import stages  # noqa: PLC0415
    from pytest_yourai.plugin import (  # noqa: PLC0415
        controller,
        nothing_measured,
        old_wrappers,
        terminal,
    )
    from pytest_yourai.plugin.read_options import read_options  # noqa: PLC0415
    from pytest_yourai.report.live_sweep import SweepDisplay  # noqa: PLC0415

    plan = stages.make_run_plan(read_options(config))
    owns_session = _collect_packaged_suite(config, with_soak=bool(plan.soaked_by_id))
    manager = config.pluginmanager
    sweep_display = SweepDisplay()
    hooks = None
    if not hasattr(config, "workerinput"):
        hooks = controller.ControllerHooks(
            config, plan, has_items_here=has_items_here, owns_session=owns_session
        )
    if has_items_here:
        inside = old_wrappers.Inside()
        manager.register(inside, "yourai-inside-wrappers")
        _register_item_hooks(config, plan, sweep_display, workers, hooks)
    if hooks is not None:
        manager.register(hooks, "yourai-controller")
        manager.register(old_wrappers.Interruptions(), "yourai-interruptions")
        if command_line.wants_packaged_suite(config):
            manager.register(nothing_measured.NothingMeasured(config), "yourai-nothing-measured")
        elif has_items_here:
            manager.register(nothing_measured.HowToSweep(config), "yourai-how-to-sweep")
        if has_items_here:
            manager.register(terminal.DisplayHooks(config, sweep_display), "yourai-display")
    if has_items_here:
        manager.register(old_wrappers.Outside(inside), "yourai-outside-wrappers")
    if plan.options.rounds_of_confirmation:
        results = hooks.results if hooks is not None else None
        _register_confirmation(config, plan, results, has_items_here=has_items_here)
    if not command_line.has_benchmark(config):
        manager.register(_NoBenchmark())


def _register_confirmation(
    config: pytest.Config, plan: RunPlan, results: RunResults | None, *, has_items_here: bool
) -> None:
    from pytest_yourai.plugin import confirming  # noqa: PLC0415

    manager = config.pluginmanager
    if has_items_here:
        item_hooks = config.stash[ITEM_HOOKS]
        manager.register(confirming.ConfirmationHooks(config, plan, item_hooks, results))
    elif results is not None:
        manager.register(confirming.ConfirmationOfWorkers(results))


def _register_item_hooks(
    config: pytest.Config,
    plan: RunPlan,
    sweep_display: SweepDisplay,
    workers: WorkerStarter,
    listener: ControllerHooks | None,
) -> None:
    from pytest_yourai.plugin import failed_fixtures, items, soak_items  # noqa: PLC0415

    manager = config.pluginmanager
    item_hooks = items.ItemHooks(config, plan, sweep_display, workers, listener)
    config.stash[ITEM_HOOKS] = item_hooks
    manager.register(item_hooks, "yourai-items")
    manager.register(item_hooks.timer, "yourai-timer")
    manager.register(failed_fixtures.FailedFixtures(), "yourai-failed-fixtures")
    if plan.soaked_by_id:
        soak_hooks = soak_items.SoakHooks(config, plan, item_hooks, listener)
        manager.register(soak_hooks, "yourai-soak-items")


class _NoBenchmark:
    """A `benchmark` fixture that skips, while pytest-benchmark is switched off."""

    @pytest.fixture
    def benchmark(self) -> Callable[..., None]:
        def skip(*_: Any, **__: Any) -> None:
            pytest.skip("pytest-benchmark is off")

        return skip


def _collect_packaged_suite(config: pytest.Config, *, with_soak: bool) -> bool:
    """Collect the packaged tests unless paths are given; True if nothing else is collected.

    The soak comes last, when all sweeps are over.
    """
    if not command_line.wants_packaged_suite(config):
        return False
    if config.args_source is not pytest.Config.ArgsSource.ARGS:
        config.args[:] = [str(SUITE), str(SOAK_SUITE)] if with_soak else [str(SUITE)]
    else:
        config.args[:] = [_resolve_node_id(arg, config) for arg in config.args]
    ours = [str(path) for path in SUITE_NODE_IDS]
    return all(arg.partition("::")[0] in ours for arg in config.args)


def _resolve_node_id(arg: str, config: pytest.Config) -> str:
    """The path of a packaged test for its node id, wherever it is installed; other paths as is."""
    path, separator, rest = arg.partition("::")
    for ours, node_id in SUITE_NODE_IDS.items():
        is_ours = PurePosixPath(path).parts[-3:] == PurePosixPath(node_id).parts
        if is_ours and not (config.invocation_params.dir / path).exists():
            return f"{ours}{separator}{rest}"
    return arg


def _is_distributed(config: pytest.Config) -> bool:
    """True if one worker of xdist runs the items; UsageError if several would."""
    if config.getoption("forked", False):
        raise pytest.UsageError(
            "--forked runs each item in a process of its own, with which its result would be lost: "
            "leave it out (each trial runs in a worker process anyway)"
        )
    if hasattr(config, "workerinput") or config.getoption("dist", "no") == "no":
        return False
    specs = config.getoption("tx", None) or []
    count = sum(int(head) if (head := spec.partition("*")[0]).isdecimal() else 1 for spec in specs)
    if count > 1:
        raise pytest.UsageError(
            f"{count} xdist workers would share one accelerator and measure each other: "
            "add -n 0, which also overrides an -n in addopts, or -n 1"
        )
    return True


class _SuiteModule(pytest.Module):
    """A packaged test file, collected whatever names the project gives its own tests."""

    def funcnamefilter(self, name: str) -> bool:
        return name.startswith("test_")


def pytest_pycollect_makemodule(
    module_path: Path, parent: pytest.Collector
) -> pytest.Module | None:
    node_id = SUITE_NODE_IDS.get(module_path)
    if node_id is None:
        return None
    module: pytest.Module = _SuiteModule.from_parent(parent, path=module_path, nodeid=node_id)
    return module


@pytest.fixture
def trial(request: pytest.FixtureRequest) -> Trial:
    """One configuration of the matrix, measured when the test is called."""
    item_hooks = request.config.stash.get(ITEM_HOOKS, None)
    if item_hooks is None:
        pytest.skip("no configurations to try: name a model with --yourai-model")
    if not hasattr(request, "param"):
        pytest.fail("take `trial` as an argument of a test function: only that is parametrized")
    item_id: str = request.param
    return item_hooks.trial(item_id)

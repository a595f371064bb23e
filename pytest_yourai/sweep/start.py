"""Starts a sweep: its worker, what is known of it already, and its first events in the journal."""

from __future__ import annotations

import dataclasses
import os
import uuid
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from pytest_yourai.core.device import DeviceInfo
from pytest_yourai.core.units import gigabytes, seconds
from pytest_yourai.machine.budget import (
    Budget,
    HostShare,
    choose_budget,
    choose_shared_budget,
)
from pytest_yourai.machine.environment import Boot, last_boot
from pytest_yourai.plan.sweep_plan import SweepContext, SweepPlan
from pytest_yourai.store.history import History
from pytest_yourai.store.journal import EventLog, TaggedLog
from pytest_yourai.sweep.device_limits import limit_notes
from pytest_yourai.sweep.model_sweep import OnResult, Sweep
from pytest_yourai.sweep.replay_runner import recorded_context
from pytest_yourai.sweep.resume import ResumeState, resume
from pytest_yourai.sweep.trial_progress import OnProgress
from pytest_yourai.worker.host import WorkerHost
from pytest_yourai.worker.process import WorkerStarter
from pytest_yourai.worker.ranks.start import StartedGroup


def start_sweep(
    plan: SweepPlan,
    journal: EventLog,
    history: History | None = None,
    on_progress: OnProgress | None = None,
    workers: WorkerStarter | None = None,
    on_result: OnResult | None = None,
    print_line: Callable[[str], None] = lambda _: None,
) -> Sweep:
    """Start a worker that inspects the model; nothing is loaded yet. A replay needs none.

    BackendError, ModelError, DataError or OptionError where the sweep cannot work. With `history`,
    the results of earlier runs of the same identity are kept. One of `workers` may run already.
    `print_line` gets a line now and then while many rows are read.
    """
    log = TaggedLog(journal, run_id=uuid.uuid4().hex, model=plan.source.name)
    boot = last_boot()
    run = {"boot_id": boot.boot_id, "pid": os.getpid(), "identity": plan.identity}
    log.write(
        "benchmark_start",
        **run,
        configurations=len(plan.configs),
        settings=plan.settings.as_json(),
    )
    host = WorkerHost(plan.source, log, plan.start_timeout_s, workers, plan.hosts)
    try:
        context, resumed = _context(plan, host, history, boot, print_line)
        _write_model(log, plan, context, run)
    except BaseException as problem:
        host.end(killed_because=repr(problem))
        raise
    return Sweep(plan, context, log, host, resumed, on_progress, on_result)


def _write_model(
    log: EventLog, plan: SweepPlan, context: SweepContext, run: Mapping[str, Any]
) -> None:
    """The events between the start of a run and its first trial."""
    if (data := context.inspection.data) is not None and data.notes:
        log.write("data_notes", rows_left_out=data.left_out, notes=list(data.notes))
    facts = {
        "memory_limit_bytes": context.budget.limit_bytes,
        "memory_limit_is_detected": context.budget.is_detected,
        "device": dataclasses.asdict(context.device),
    }
    log.write(
        "model_start",
        weights=plan.settings.weights,
        parameters=context.inspection.parameters,
        **facts,
    )
    # Once more: without either line no result of the run could be taken over.
    log.write("run_facts", **run, **facts)


def budget_of(limit_bytes: int | None, host: WorkerHost, device: DeviceInfo) -> Budget:
    """The budget of each rank where there are several, which may share a host's memory."""
    if host.group is None:
        return choose_budget(limit_bytes, device)
    hellos = host.group.conversation.hellos
    ranks = Counter(hello.host for hello in hellos)
    shares = [
        HostShare(each.host, each.usable_bytes, each.available_bytes, ranks[each.host])
        for each in hellos
    ]
    return choose_shared_budget(limit_bytes, device, shares)


def group_note(group: StartedGroup) -> str:
    """The ranks of a group, and how fast they sum, as a line for people."""
    names = ", ".join(dict.fromkeys(each.host for each in group.conversation.hellos))
    timed = group.joined.all_sum
    return (
        f"{group.joined.world_size} ranks on {names}: "
        f"{gigabytes(timed.bytes)} summed in {seconds(timed.time_s)}"
    )


def _context(
    plan: SweepPlan,
    host: WorkerHost,
    history: History | None,
    boot: Boot,
    print_line: Callable[[str], None],
) -> tuple[SweepContext, ResumeState]:
    if plan.recording is not None:
        context = recorded_context(plan, plan.recording)
    else:
        device, inspection = host.inspect(plan.data, plan.reading, print_line, plan.wanted)
        budget = budget_of(plan.memory_limit_bytes, host, device)
        tried = plan.tried(inspection, budget.limit_bytes)
        notes = (
            *limit_notes(tried, plan.source, inspection, device),
            *([] if host.group is None else [group_note(host.group)]),
        )
        context = SweepContext(device, inspection, budget, notes)
    if history is None:
        return context, ResumeState()
    resumed = resume(history, plan, context, boot)
    budget = resumed.budget or context.budget
    return dataclasses.replace(context, budget=budget, notes=context.notes + resumed.notes), resumed

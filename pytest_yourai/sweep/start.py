"""Starts a sweep: begins its run in the journal, and inspects its model in a worker."""

from __future__ import annotations

import dataclasses
import os
import uuid

from pytest_yourai.machine.budget import choose_budget
from pytest_yourai.machine.environment import Boot, last_boot
from pytest_yourai.plan.sweep_plan import SweepContext, SweepPlan
from pytest_yourai.store.history import History
from pytest_yourai.store.journal import EventLog, TaggedLog
from pytest_yourai.sweep.model_sweep import Sweep
from pytest_yourai.sweep.replay_runner import recorded_context
from pytest_yourai.sweep.resume import ResumeState, resume
from pytest_yourai.sweep.trial_runner import OnProgress
from pytest_yourai.worker.host import WorkerHost
from pytest_yourai.worker.process import WorkerStarter


def start_sweep(
    plan: SweepPlan,
    journal: EventLog,
    history: History | None = None,
    on_progress: OnProgress | None = None,
    workers: WorkerStarter | None = None,
) -> Sweep:
    """Start a worker that inspects the model; nothing is loaded yet. A replay needs none.

    BackendError, ModelError, DataError or OptionError where the sweep cannot work. With `history`,
    the results of earlier runs of the same identity are kept. One of `workers` may run already.
    """
    log = TaggedLog(journal, run_id=uuid.uuid4().hex, model=plan.source.name)
    boot = last_boot()
    log.write(
        "benchmark_start",
        boot_id=boot.boot_id,
        pid=os.getpid(),
        configurations=len(plan.configs),
        settings=plan.settings.as_json(),
        identity=plan.identity,
    )
    host = WorkerHost(plan.source, log, plan.start_timeout_s, workers)
    try:
        context, resumed = _context(plan, host, history, boot)
        log.write(
            "model_start",
            weights=plan.settings.weights,
            parameters=context.inspection.parameters,
            memory_limit_bytes=context.budget.limit_bytes,
            memory_limit_is_detected=context.budget.is_detected,
            device=dataclasses.asdict(context.device),
        )
    except BaseException as problem:
        host.end(killed_because=repr(problem))
        raise
    return Sweep(plan, context, log, host, resumed, on_progress)


def _context(
    plan: SweepPlan, host: WorkerHost, history: History | None, boot: Boot
) -> tuple[SweepContext, ResumeState]:
    if plan.recording is not None:
        context = recorded_context(plan, plan.recording)
    else:
        device, inspection = host.inspect(plan.data)
        budget = choose_budget(plan.memory_limit_bytes, device)
        context = SweepContext(device, inspection, budget)
    if history is None:
        return context, ResumeState()
    resumed = resume(history, plan, context, boot)
    budget = resumed.budget or context.budget
    return dataclasses.replace(context, budget=budget, notes=resumed.notes), resumed

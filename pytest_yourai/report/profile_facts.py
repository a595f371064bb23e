"""Facts of a profile about machine, settings, soaks and data, as labels and texts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from pytest_yourai.core.conditions import Environment, SweepSettings
from pytest_yourai.core.labels import ConfigLabels, on_or_off
from pytest_yourai.core.soak_results import SoakResult
from pytest_yourai.core.units import MB, duration, gigabytes, machine_memory, seconds
from pytest_yourai.report.dataset_lines import bar_name
from pytest_yourai.report.shorter_rows_lines import shorter_rows_text
from pytest_yourai.store.data_rows import DataRow
from pytest_yourai.store.stored_profile import StoredProfile

Facts = list[tuple[str, str]]
"""Labels and texts, in their order."""

_MACHINE = {
    "device": "Device",
    "gpu_cores": "GPU cores",
    "backend": "MLX backend",
    "device_memory_bytes": "Device memory",
    "chip": "Chip",
    "system_memory_bytes": "System memory",
    "system": "System",
    "power_source": "Power",
    "low_power_mode": "Low-power mode",
}

_IN_BYTES = "_bytes"

_IN_SECONDS = "_s"


def machine(environment: Environment) -> Facts:
    """The machine of a sweep, without versions."""
    found = [(label, _text(key, getattr(environment, key))) for key, label in _MACHINE.items()]
    return [(label, text) for label, text in found if text]


def machine_name(environment: Environment) -> str:
    """The machine in one line, by which histories are grouped: `NVIDIA H200 (cuda), 150.8 GB`."""
    name = environment.device or environment.chip or "a machine that is not named"
    backend = f" ({environment.backend})" if environment.backend else ""
    size = environment.device_memory_bytes or environment.system_memory_bytes
    return name + backend + (f", {gigabytes(size)}" if size else "")


def where_measured(profile: StoredProfile) -> str:
    """The machine of a profile, and the ranks that trained together: `… × 2 by nccl`."""
    found = profile.settings
    by = f" by {found.distributed_backend}" if found.distributed_backend else ""
    ranks = "" if found.ranks == 1 else f" × {found.ranks}{by}"
    return f"{machine_name(profile.environment)}{ranks}"


def ranks_note(found: SweepSettings) -> str | None:
    """What the numbers mean where several ranks trained together; None where one did alone."""
    if found.ranks == 1:
        return None
    return f"{found.ranks_text}: batches and tokens/s are of all together, memory of one rank"


def settings(found: SweepSettings) -> Facts:
    """All settings that are known, in the file's order."""
    texts = [
        (key.removesuffix(_IN_SECONDS), _text(key, value)) for key, value in found.as_json().items()
    ]
    return [(key.replace("_", " "), text) for key, text in texts if text]


def _text(key: str, value: Any) -> str:
    """A value of the file for people; empty for null."""
    if value is None or isinstance(value, bool):
        return "" if value is None else on_or_off(value)
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_text(name, item)}" for name, item in value.items())
    if isinstance(value, list):
        return ", ".join(_text(key, item) for item in value)
    if key.endswith(_IN_BYTES):
        return machine_memory(value)
    return duration(value) if key.endswith(_IN_SECONDS) else str(value)


def soak_data(soak: SoakResult, naming: ConfigLabels) -> dict[str, Any]:
    """One soak: its configuration, its outcome, and what it measured."""
    return {
        "name": naming.name(soak.config),
        "success": soak.success,
        "outcome": soak.outcome.replace("_", " "),
        "reason": soak.error,
        "warnings": list(soak.warnings),
        "facts": list(_soak_facts(soak)),
    }


def _soak_facts(soak: SoakResult) -> Iterator[tuple[str, str]]:
    yield "Lasted", f"{duration(soak.duration_s)} of {duration(soak.asked_s)}"
    yield "Steps", f"{soak.steps:,}"
    measures: list[tuple[str, float | None, Callable[[float], str]]] = [
        ("Peak", soak.peak_memory_bytes, gigabytes),
        ("Peak of its trial", soak.trial_peak_memory_bytes, gigabytes),
        ("Growth of active memory", soak.active_growth_bytes_per_step, _growth),
        ("of the footprint", soak.footprint_growth_bytes_per_step, _growth),
        ("Step time, first tenth", soak.first_tenth_step_time_s, seconds),
        ("Step time, last tenth", soak.last_tenth_step_time_s, seconds),
        ("Last tenth over first", soak.slowdown, "× {:.2f}".format),
        ("Growth of swap", soak.swap_growth_bytes, gigabytes),
    ]
    yield from ((label, text(value)) for label, value, text in measures if value is not None)


def _growth(bytes_per_step: float) -> str:
    return f"{round(bytes_per_step / MB, 2) + 0.0:+.2f} MB a step"


def training_data(data: DataRow | None) -> dict[str, Any] | None:
    """Lengths of the rows that were measured; None for made-up rows."""
    if data is None:
        return None
    return {
        "facts": list(_data_facts(data)),
        "bars": [
            {"name": bar_name(bar.start, bar.end), "rows": bar.rows} for bar in data.histogram
        ],
        "shorter_rows": [
            {"text": shorter_rows_text(each.to_offer()), "command": each.command}
            for each in data.shorter_rows
        ],
    }


def _data_facts(data: DataRow) -> Iterator[tuple[str, str]]:
    for name, count in (("Rows", data.rows), ("Tokens", data.tokens)):
        if count is not None:
            yield name, f"{count:,}"
    for key in ("shortest", "median", "longest"):
        if (length := getattr(data, key)) is not None:
            yield f"{key.capitalize()} row", f"{length:,.0f} tokens"
    if data.optimal_epoch_time_s is not None:
        yield "Epoch with the best", f"about {duration(data.optimal_epoch_time_s)}"


def about(profile: StoredProfile) -> Iterator[tuple[str, str]]:
    """Names and texts of all that is known. They may have markup, but no control characters."""
    measured = [f"{profile.created_at:%Y-%m-%d %H:%M %Z}"] if profile.created_at else []
    if not profile.complete:
        measured.append("incomplete: the run was interrupted")
    trials = sum(each.started for each in profile.results.values())
    parts = {
        "Machine": _joined(machine(profile.environment)),
        "Versions": _joined(profile.environment.versions.items()),
        "Budget": gigabytes(profile.memory_limit_bytes) if profile.memory_limit_bytes else "",
        "Settings": _joined(settings(profile.settings)),
        "Measured": ", ".join(measured),
        "Trials": f"{trials} of {len(profile.results)} configurations",
        "Soak": "; ".join(_soaks(profile)),
    }
    if len(profile.results) == 1:  # as in a check
        del parts["Trials"]
    yield from ((name, text) for name, text in parts.items() if text)


def _joined(labelled: Iterable[tuple[str, str]]) -> str:
    return "; ".join(f"{label} {text}" for label, text in labelled)


def _soaks(profile: StoredProfile) -> Iterator[str]:
    for soak in profile.soaks:
        each = soak_data(soak, profile.naming)
        ending = f"{each['outcome']}: {each['reason']}" if each["reason"] else each["outcome"]
        measured = ", ".join(f"{label} {text}" for label, text in each["facts"])
        yield f"{each['name']}: {ending}" + (f" ({measured})" if measured else "")

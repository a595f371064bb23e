"""What a profile says of machine, settings, soaks and data, as labels and texts.

These parts of a file are not checked when it is read: whatever is no such value is left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pytest_yourai.core.files import mapping
from pytest_yourai.core.labels import on_or_off
from pytest_yourai.core.units import duration, gigabytes, machine_memory, seconds
from pytest_yourai.store.stored_profile import StoredProfile

Facts = list[tuple[str, str]]
"""Labels and texts, in their order."""

_BYTES_PER_MB = 1e6

_MACHINE = {
    "device": "Device",
    "backend": "MLX backend",
    "device_memory_bytes": "Device memory",
    "chip": "Chip",
    "system_memory_bytes": "System memory",
    "system": "System",
    "power_source": "Power",
    "low_power_mode": "Low-power mode",
}

_IN_SECONDS = "_s"

_MOST = 1e18


def machine(environment: Mapping[str, Any]) -> Facts:
    """What it was measured on, without versions."""
    found = [(label, _text(key, environment.get(key))) for key, label in _MACHINE.items()]
    return [(label, text) for label, text in found if text]


def machine_name(environment: Mapping[str, Any]) -> str:
    """The machine in a line, as its history is kept by: `NVIDIA H200 (cuda), 150.8 GB`."""
    device = environment.get("device") or environment.get("chip")
    backend, size = environment.get("backend"), _number(environment.get("device_memory_bytes"))
    size = size or _number(environment.get("system_memory_bytes"))
    name = str(device) if isinstance(device, str) else "a machine that is not named"
    return name + (f" ({backend})" if backend else "") + (f", {gigabytes(size)}" if size else "")


def versions(environment: Mapping[str, Any]) -> Facts:
    """Of MLX and whatever else decides about measurements."""
    found = mapping(environment.get("versions"))
    return [(str(name), str(version)) for name, version in found.items()]


def settings(found: Mapping[str, Any]) -> Facts:
    """All that were set, in the file's order."""
    texts = [(key.removesuffix(_IN_SECONDS), _text(key, value)) for key, value in found.items()]
    return [(key.replace("_", " "), text) for key, text in texts if text]


def _text(key: str, value: Any) -> str:
    """As people write it; empty where there is nothing to say."""
    if value is None or isinstance(value, bool):
        return "" if value is None else on_or_off(value)
    if isinstance(value, dict):
        return ", ".join(f"{name} {_text(name, item)}" for name, item in value.items())
    if isinstance(value, list):
        return ", ".join(_text(key, item) for item in value)
    count = _number(value)
    if count is not None and key.endswith("_bytes"):
        return machine_memory(count)
    if count is not None and key.endswith(_IN_SECONDS):
        return duration(count)
    return str(value)


def soak_data(row: Mapping[str, Any]) -> dict[str, Any]:
    """One soak: its configuration, how it ended, and what it measured."""
    warnings = row.get("warnings")
    return {
        "name": _configuration(row),
        "success": row.get("success") is True,
        "outcome": str(row.get("outcome", "unknown")).replace("_", " "),
        "reason": row["error"] if isinstance(row.get("error"), str) else None,
        "warnings": list(map(str, warnings)) if isinstance(warnings, list) else [],
        "facts": list(_soak_facts(row)),
    }


def _configuration(row: Mapping[str, Any]) -> str:
    names = {"batch_size": "batch", "lora_rank": "rank", "lora_layers": "layers"}
    return ", ".join(f"{name}={row.get(key)}" for key, name in names.items())


def _soak_facts(row: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    lasted, asked = _number(row.get("minutes")), _number(row.get("asked_minutes"))
    if lasted is not None and asked is not None:
        yield "Lasted", f"{duration(lasted * 60)} of {duration(asked * 60)}"
    if (steps := _number(row.get("steps"))) is not None:
        yield "Steps", f"{steps:,.0f}"
    for key, label in (("peak_memory_mb", "Peak"), ("trial_peak_memory_mb", "Peak of its trial")):
        if (peak := _number(row.get(key))) is not None:
            yield label, gigabytes(peak * _BYTES_PER_MB)
    for key, label in (("active", "Growth of active memory"), ("footprint", "of the footprint")):
        if (growth := _number(row.get(f"{key}_growth_mb_per_step"))) is not None:
            yield label, f"{growth:+.2f} MB a step"
    for key, label in (("first", "Step time, first tenth"), ("last", "Step time, last tenth")):
        if (time_s := _number(row.get(f"{key}_tenth_step_time_s"))) is not None:
            yield label, seconds(time_s)
    if (slowdown := _number(row.get("slowdown"))) is not None:
        yield "Last tenth over first", f"× {slowdown:.2f}"
    if (swap := _number(row.get("swap_growth_bytes"))) is not None:
        yield "Growth of swap", gigabytes(swap)


def training_data(data: Mapping[str, Any]) -> dict[str, Any] | None:
    """Lengths of the rows that were measured; None where they were made up."""
    if not data:
        return None
    bars = data.get("histogram")
    return {
        "facts": list(_data_facts(data)),
        "bars": [
            {"name": _bar_name(least, bar.get("to")), "rows": rows}
            for bar in map(mapping, bars if isinstance(bars, list) else ())
            if (rows := _number(bar.get("rows"))) is not None
            if (least := _number(bar.get("from"))) is not None
        ],
    }


def _data_facts(data: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for key in ("rows", "tokens"):
        if (count := _number(data.get(key))) is not None:
            yield key.capitalize(), f"{count:,.0f}"
    for key in ("shortest", "median", "longest"):
        if (count := _number(data.get(key))) is not None:
            yield f"{key.capitalize()} row", f"{count:,.0f} tokens"
    if (time_s := _number(data.get("optimal_epoch_time_s"))) is not None:
        yield "Epoch with the best", f"about {duration(time_s)}"


def _bar_name(least: float, most: Any) -> str:
    end = _number(most)
    return f"over {least - 1:,.0f}" if end is None else f"{least:,.0f}–{end:,.0f}"


def _number(value: Any) -> float | None:
    """A number that can be an amount; None for whatever else."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number and abs(value) < _MOST else None


def about(profile: StoredProfile) -> Iterator[tuple[str, str]]:
    """Names and texts, free of control characters, NOT of markup; what is not known is left out."""
    parts = {
        "Machine": _joined(machine(profile.environment)),
        "Versions": _joined(versions(profile.environment)),
        "Memory limit": gigabytes(profile.memory_limit_bytes) if profile.memory_limit_bytes else "",
        "Settings": _joined(settings(profile.settings)),
        "Measured": ", ".join(_measured(profile)),
        "Trials": _trials(profile),
        "Soak": "; ".join(_soaks(profile)),
    }
    yield from ((name, text) for name, text in parts.items() if text)


def _joined(labelled: Facts) -> str:
    return "; ".join(f"{label} {text}" for label, text in labelled)


def _measured(profile: StoredProfile) -> Iterator[str]:
    if profile.created_at is not None:
        yield f"{profile.created_at:%Y-%m-%d %H:%M %Z}"
    if not profile.complete:
        yield "incomplete: the run was interrupted"


def _trials(profile: StoredProfile) -> str:
    """Nothing where there was one alone, as in a check."""
    if len(profile.results) == 1:
        return ""
    trials = sum(each.started for each in profile.results.values())
    return f"{trials} of {len(profile.results)} configurations"


def _soaks(profile: StoredProfile) -> Iterator[str]:
    for each in map(soak_data, profile.soaks):
        ending = f"{each['outcome']}: {each['reason']}" if each["reason"] else each["outcome"]
        measured = ", ".join(f"{label} {text}" for label, text in each["facts"])
        yield f"{each['name']}: {ending}" + (f" ({measured})" if measured else "")

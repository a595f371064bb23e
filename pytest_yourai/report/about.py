"""What a profile says of how it was measured, in words: machine, versions, settings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pytest_yourai.naming import on_or_off
from pytest_yourai.store.documents import mapping
from pytest_yourai.store.rows import amount
from pytest_yourai.store.stored_profile import StoredProfile
from pytest_yourai.units import gigabytes, machine_memory

_SETTINGS = (
    "weights",
    "max_seq_length",
    "grad_checkpoint",
    "lora_keys",
    "matrix",
    "data",
    "search",
    "measured_steps",
    "warmup_steps",
    "isolation",
    "replay",
)
"""Those that decide what is measured, as a profile names them."""


def about(profile: StoredProfile) -> Iterator[tuple[str, str]]:
    """Names and texts, free of control characters, NOT of markup; what is not known is left out."""
    parts = {
        "Machine": ", ".join(_machine(profile.environment)),
        "Versions": ", ".join(
            f"{name} {version}"
            for name, version in mapping(profile.environment.get("versions")).items()
            if isinstance(version, str)
        ),
        "Settings": "; ".join(_settings(profile)),
        "Measured": ", ".join(_measured(profile)),
        "Trials": _trials(profile),
        "Soak": "; ".join(_soaks(profile)),
    }
    yield from ((name, text) for name, text in parts.items() if text)


def _machine(environment: Mapping[str, Any]) -> Iterator[str]:
    texts = {key: each for key, each in environment.items() if isinstance(each, str)}
    backend = f" ({texts['backend']})" if "backend" in texts else ""
    device, chip = texts.get("device"), texts.get("chip")
    if device:
        yield device + backend
    if chip and chip != device:
        yield chip
    for key in ("device_memory_bytes", "system_memory_bytes"):
        size = amount(environment.get(key), 1e18)
        if size is not None:
            yield f"{key.partition('_')[0]} memory {machine_memory(size)}"
    if "system" in texts:
        yield texts["system"]
    if texts.get("power_source") == "battery":
        yield "on battery"
    if environment.get("low_power_mode") is True:
        yield "in low-power mode"


def _settings(profile: StoredProfile) -> Iterator[str]:
    if profile.memory_limit_bytes is not None:
        yield f"memory limit {gigabytes(profile.memory_limit_bytes)}"
    yield f"objective {profile.objective}"
    quantization = mapping(profile.settings.get("quantization"))
    if quantization:
        yield f"quantization {', '.join(map(_shown, quantization.items()))}"
    for key in _SETTINGS:
        if profile.settings.get(key) is not None:
            yield _shown((key, profile.settings[key]))


def _shown(setting: tuple[str, Any]) -> str:
    name, value = setting
    values = value if isinstance(value, list) else [value]
    words = [on_or_off(each) if isinstance(each, bool) else str(each) for each in values]
    return f"{name} {', '.join(words)}"


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
    """One part for each; a row that another program wrote may lack anything."""
    for row in profile.soaks:
        name = ", ".join(
            f"{axis}={row.get(key)}"
            for axis, key in (
                ("batch", "batch_size"),
                ("rank", "lora_rank"),
                ("layers", "lora_layers"),
            )
        )
        minutes = amount(row.get("minutes"))
        lasted = f" for {minutes:.1f} min" if minutes else ""
        reason = f": {row['error']}" if row.get("error") else ""
        yield f"{name}{lasted}: {row.get('outcome')}{reason}"

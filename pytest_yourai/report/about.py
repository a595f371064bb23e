"""What a profile says of how it was measured, in lines of words: machine, versions, settings."""

from __future__ import annotations

from collections.abc import Iterator

from pytest_yourai.report import facts
from pytest_yourai.store.stored_profile import StoredProfile
from pytest_yourai.units import gigabytes


def about(profile: StoredProfile) -> Iterator[tuple[str, str]]:
    """Names and texts, free of control characters, NOT of markup; what is not known is left out."""
    parts = {
        "Machine": _joined(facts.machine(profile.environment)),
        "Versions": _joined(facts.versions(profile.environment)),
        "Memory limit": gigabytes(profile.memory_limit_bytes) if profile.memory_limit_bytes else "",
        "Settings": _joined(facts.settings(profile.settings)),
        "Measured": ", ".join(_measured(profile)),
        "Trials": _trials(profile),
        "Soak": "; ".join(_soaks(profile)),
    }
    yield from ((name, text) for name, text in parts.items() if text)


def _joined(labelled: facts.Facts) -> str:
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
    for each in map(facts.soak_data, profile.soaks):
        ending = f"{each['outcome']}: {each['reason']}" if each["reason"] else each["outcome"]
        measured = ", ".join(f"{label} {text}" for label, text in each["facts"])
        yield f"{each['name']}: {ending}" + (f" ({measured})" if measured else "")

"""What the results of a benchmark say of each model, as profiles."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pydantic

from pytest_yourai.errors import RecordingError
from pytest_yourai.models import id_name
from pytest_yourai.results import Outcome

_MB_PER_GB = 1e3
_MS_PER_S = 1e3


class Entry(pydantic.BaseModel):
    """One of the results of a benchmark; memory in GB (1e9 bytes)."""

    preset: str
    model_name: str
    success: bool
    optimal_config: dict[str, Any] | None
    safe_config: dict[str, Any] | None
    peak_memory_gb: float | None
    minimum_memory_gb: float | None
    memory_limit_gb: float | None
    step_time_s: float | None
    tokens_per_second: float | None = None
    predicted_minimum_memory_gb: float | None = None
    outcome: Outcome | None = None
    error: str | None = None

    def checked(self, shared: Mapping[str, Any]) -> dict[str, Any] | None:
        """A profile of its safe configuration, None without one; `shared` is the document."""
        if self.safe_config is None or self.outcome is None:
            return None
        row = {
            **self.safe_config,
            "outcome": self.outcome.value,
            "success": self.success,
            "error": self.error and self.error.removeprefix(f"{self.outcome}: "),
            "peak_memory_mb": self.peak_memory_gb and self.peak_memory_gb * _MB_PER_GB,
            "minimum_memory_mb": self.minimum_memory_gb and self.minimum_memory_gb * _MB_PER_GB,
            "step_time_ms": self.step_time_s and self.step_time_s * _MS_PER_S,
            "tokens_per_second": self.tokens_per_second,
            "predicted_minimum_memory_bytes": self.predicted_minimum_memory_gb
            and self.predicted_minimum_memory_gb * 1e9,
        }
        optimum = self.safe_config if self.success else dict.fromkeys(self.safe_config)
        return {
            "model": id_name(self.preset),
            "memory_limit_gb": self.memory_limit_gb,
            "created_at": shared.get("created_at"),
            "complete": shared.get("complete"),
            "environment": shared.get("environment"),
            **{f"optimal_{key}": value for key, value in optimum.items()},
            "all_results": [row],
        }


def read_entries(document: Mapping[str, Any], name: str) -> list[Entry]:
    """All models of benchmark results in the file `name`; RecordingError where they are none."""
    try:
        return pydantic.TypeAdapter(list[Entry]).validate_python(document["results"])
    except pydantic.ValidationError as problem:
        where = ".".join(map(str, ("results", *problem.errors()[0]["loc"])))
        raise RecordingError(
            f"{name}: {where}: it is missing or mistaken: name the results of yourai benchmark"
        ) from None


def entry_profiles(document: Mapping[str, Any], name: str) -> Iterator[Mapping[str, Any]]:
    """The profile of each model: of its sweep, else of its safe configuration."""
    for entry in read_entries(document, name):
        found = entry.optimal_config or entry.checked(document)
        if found is not None:
            yield found

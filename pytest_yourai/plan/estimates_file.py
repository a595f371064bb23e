"""The JSON file of estimates."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from pytest_yourai.core.errors import RecordingError
from pytest_yourai.core.files import check_writable, read_document, write_json
from pytest_yourai.core.keeping import keep_aside, sole_writer
from pytest_yourai.core.units import GB, parameters
from pytest_yourai.plan.recommendation import Recommendation, Recommendations
from pytest_yourai.plan.scaling import rows_of
from pytest_yourai.store.config_rows import configuration
from pytest_yourai.store.data_rows import ShorterRowsRow
from pytest_yourai.store.profile import OUTPUT_FLAG

SCHEMA_VERSION = 1


def document(found: Recommendations) -> dict[str, Any]:
    """The JSON document of a file of estimates."""
    return {
        "schema_version": SCHEMA_VERSION,
        "estimates_only": True,
        "memory_limit_gb": found.budget.limit_bytes / GB,
        "memory_limit_is_detected": found.budget.is_detected,
        "backend": found.backend,
        "models": [_row(model) for model in found.models],
        "left_out": dict(found.left_out),
    }


def _row(model: Recommendation) -> dict[str, Any]:
    return {
        "name": model.name,
        "params": parameters(model.parameters),
        "verdict": model.verdict.value,
        "limited_by": model.limited_by,
        "minimum_memory_bytes": model.estimate.minimum_bytes,
        "conservative_memory_bytes": model.estimate.conservative_bytes,
        "peak_memory_bytes": model.estimate.peak_bytes,
        "conservative_peak_memory_bytes": model.estimate.conservative_peak_bytes,
        **dataclasses.asdict(model.estimate),
        **configuration(model.config),
        "quantization_bits": model.quantization and model.quantization.bits,
        "change": model.instead.change if model.instead else None,
        "asked_minimum_memory_bytes": model.asked_bytes if model.instead else None,
        **({"on_machines": list(rows_of(model.scaling))} if model.scaling else {}),
        "shorter_rows": [ShorterRowsRow.from_offer(each).as_json() for each in model.shorter],
    }


def write(path: Path, found: Recommendations) -> Path | None:
    """Write atomically; OutputError where that fails.

    A file there that has not just estimates is kept under the dated name that is returned.
    """
    check_writable(path, OUTPUT_FLAG)
    with sole_writer(path):
        kept = None if _has_estimates_alone(path) else keep_aside(path, None, OUTPUT_FLAG)
        write_json(path, document(found), OUTPUT_FLAG)
    return kept


def _has_estimates_alone(path: Path) -> bool:
    if not path.exists():
        return True
    try:
        return read_document(path).get("estimates_only") is True
    except RecordingError:
        return False

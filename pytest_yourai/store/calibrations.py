"""What a machine's estimates were off by, kept for its next model in the user's cache folder."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any

from pytest_yourai.calibration import COMPONENTS, Calibration
from pytest_yourai.errors import OutputError
from pytest_yourai.store.profile import write_json


def cache_file() -> Path:
    """`calibration.json` in the user's cache folder."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "pytest-yourai" / "calibration.json"


def read_calibration(machine: str) -> Calibration:
    """What is kept for `machine`; nothing but the usual widths where that is nothing usable."""
    kept: Any = _read().get(machine)
    try:
        factors = tuple(_number(kept["factors"][name]) for name in COMPONENTS)
        widths = tuple(_number(kept["widths"][name]) for name in COMPONENTS)
        return Calibration(factors, widths, int(kept["trials"]))
    except (KeyError, TypeError, ValueError):
        return Calibration()


def write_calibration(machine: str, calibration: Calibration) -> None:
    """Keep it for `machine`. A cache that cannot be written is no reason to fail."""
    document = _read()
    document[machine] = {
        "factors": dict(zip(COMPONENTS, calibration.factors, strict=True)),
        "widths": dict(zip(COMPONENTS, calibration.widths, strict=True)),
        "trials": calibration.trials,
    }
    path = cache_file()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, document)
    except (OSError, OutputError):
        return


def _read() -> dict[str, Any]:
    try:
        document = json.loads(cache_file().read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}


def _number(value: Any) -> float:
    """A factor or a width: finite and above 0."""
    number = float(value)
    if not (math.isfinite(number) and number > 0):
        raise ValueError(f"{number} is no factor")
    return number

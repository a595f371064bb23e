"""`yourai show`: the rows of profiles, for people and for other programs."""

from __future__ import annotations

import argparse
from pathlib import Path

from pytest_yourai.cli.output import print_text
from pytest_yourai.core.errors import OptionError
from pytest_yourai.report.export import formatted

_NAMES = ("optimal_config.json", "benchmark_results.json")
"""Profiles as sweeps and walks name them, unless --output does."""


def _profiles_here() -> list[Path]:
    """Those in the current folder; OptionError if there is none."""
    found = [path for path in map(Path, _NAMES) if path.exists()]
    if not found:
        raise OptionError(f"there is no {' or '.join(_NAMES)} here: name a profile")
    return found


def show(given: argparse.Namespace) -> int:
    """Print the rows of the profiles."""
    print_text(formatted(given.profiles or _profiles_here(), given.format))
    return 0

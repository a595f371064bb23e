"""`yourai fits`: what many profiles say of what fits where."""

from __future__ import annotations

import argparse
import os
import shutil
import sys

from pytest_yourai.cli.output import print_text
from pytest_yourai.cli.parser import print_error
from pytest_yourai.core.config import Objective
from pytest_yourai.core.units import plural
from pytest_yourai.report.fits_text import formatted
from pytest_yourai.report.page.fits_page import fits_page
from pytest_yourai.store.what_fits.measured import read_collection
from pytest_yourai.store.what_fits.table import FitsTable

_MOST_NAMED = 5

_MOST_PROCESSES = 8


def fits(given: argparse.Namespace) -> int:
    """Print the table."""
    found = read_collection(given.sources, processes=min(_processors(), _MOST_PROCESSES))
    table = FitsTable.of(found.profiles, Objective(given.objective))
    width = None
    if sys.stdout is not None and sys.stdout.isatty():
        width = shutil.get_terminal_size().columns
    for each in found.left_out[:_MOST_NAMED]:
        print_error("yourai fits", f"left out: {each.why}")
    if more := found.left_out[_MOST_NAMED:]:
        print_error("yourai fits", f"left out: {plural(len(more), 'further file')}")
    if given.format == "html":
        print_text(fits_page(table, found))
    else:
        print_text(formatted(table, given.format, width))
    return 0


def _processors() -> int:
    """Those that this process may use, where the system can say it."""
    allowed = getattr(os, "sched_getaffinity", None)
    return len(allowed(0)) if allowed else os.cpu_count() or 1
